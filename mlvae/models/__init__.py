"""Models: each returns an objective for a batch, and can be written down and rebuilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlvae.errors import InputError, check_choice
from mlvae.likelihoods import LIKELIHOODS
from mlvae.models.ada import AdaVAE
from mlvae.models.conditional import ConditionalVAE, told_groups
from mlvae.models.mlvae import MLVAE
from mlvae.models.vae import VAE
from mlvae.networks import NETWORKS
from mlvae.parts import from_config
from mlvae.separation import Separation

__all__ = ["MLVAE", "VAE", "AdaVAE", "ConditionalVAE", "build", "told_groups"]

MODELS = {"MLVAE": MLVAE, "VAE": VAE, "AdaVAE": AdaVAE, "ConditionalVAE": ConditionalVAE}


def build(
    shape: Sequence[int],
    config: Mapping[str, object],
    *,
    group_names: Sequence[object] | None = None,
) -> MLVAE | VAE | ConditionalVAE:
    """The model that a plain dictionary describes, as configs and checkpoints hold it.

    Args:
        shape: shape of one observation; images (channels, height, width).
        config: ``name`` of the model, and its keyword arguments; ``network`` and ``likelihood``
            are dictionaries themselves. ``model.config`` is such a dictionary.
        group_names: labels of the groups of the training data, for a model that is told them and
            whose ``config`` does not say them.

    Raises:
        InputError: if a name or an option is unknown, or a value is out of range.
    """
    if not isinstance(config, Mapping):
        raise InputError(f"model must be options by name, its name among them, not {config!r}")
    options = dict(config)
    name = options.pop("name", None)
    check_choice("model.name", name, MODELS)
    for key in options:
        check_choice(f"an option of model {name}", key, MODELS[name].OPTIONS)
    if "network" in options:
        options["network"] = from_config(options["network"], NETWORKS, "network")
    if "likelihood" in options:
        options["likelihood"] = from_config(options["likelihood"], LIKELIHOODS, "likelihood")
    if "separation" in options:
        options["separation"] = from_config(options["separation"], (Separation,), "separation")
    if "group_names" in MODELS[name].OPTIONS and options.get("group_names") is None:
        options["group_names"] = group_names
    return MODELS[name](shape, **options)
