"""Models: each returns an objective for a batch, and can be rebuilt from plain values.

:mod:`mlvae.models.protocol` describes the interface of a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlvae.errors import InputError, check_choice, shown
from mlvae.models.ada import AdaVAE
from mlvae.models.conditional import ConditionalVAE
from mlvae.models.mlvae import MLVAE
from mlvae.models.protocol import Model, Traits, traits
from mlvae.models.standardise import Standardise
from mlvae.models.vae import VAE
from mlvae.parts import from_config

__all__ = [
    "MLVAE",
    "MODELS",
    "VAE",
    "AdaVAE",
    "ConditionalVAE",
    "Model",
    "Standardise",
    "Traits",
    "build",
    "traits",
]

#: The models of this library by name.
MODELS: dict[str, Any] = {model.__name__: model for model in (MLVAE, VAE, AdaVAE, ConditionalVAE)}


def build(
    shape: Sequence[int],
    config: Mapping[str, object],
    *,
    group_names: Sequence[object] | None = None,
) -> Any:
    """Build the model that a plain dictionary describes, as configs and checkpoints hold it.

    Args:
        shape: shape of one observation; images (channels, height, width).
        config: ``name`` of the model, and its keyword arguments. ``network``, ``likelihood`` and
            other parts are dictionaries themselves. ``model.config`` is such a dictionary.
        group_names: labels of the groups of the training data, for a model with the option
            ``group_names`` that ``config`` does not set.

    Raises:
        InputError: if a name or an option is unknown, or a value is out of range.
    """
    if not isinstance(config, Mapping):
        raise InputError(
            f"model must be options by name, its name among them, not {shown(config)}"
        )
    values = dict(config)
    name = values.pop("name", None)
    check_choice("model.name", name, MODELS)
    model = MODELS[str(name)]
    known = model.Options.__dataclass_fields__
    for key in values:
        check_choice(f"an option of model {name}", key, known)
    if "group_names" in known and values.get("group_names") is None:
        values["group_names"] = group_names
    options = from_config(values, (model.Options,), "model")
    return model(shape, **vars(options))
