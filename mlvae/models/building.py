"""Models from plain values, and models like another model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from mlvae.arguments import check_type
from mlvae.data.grouped import GroupedData
from mlvae.errors import InputError, check_choice, shown
from mlvae.likelihoods import LIKELIHOODS, TABLE_LIKELIHOODS, Likelihood
from mlvae.models.ada import AdaVAE
from mlvae.models.conditional import ConditionalVAE
from mlvae.models.dcevae import DCEVAE
from mlvae.models.dirvae import DirVAE
from mlvae.models.mlvae import MLVAE
from mlvae.models.protocol import traits
from mlvae.models.rotations import Rotations
from mlvae.models.svqvae import SVQVAE
from mlvae.models.vae import VAE
from mlvae.models.vsae import VSAE
from mlvae.networks import NETWORKS, Network
from mlvae.parts import chosen, from_config, to_config

__all__ = ["MODELS", "build", "check_classes", "plain_vae", "rebuilt"]

#: The models of this library by name.
MODELS: dict[str, Any] = {
    model.__name__: model
    for model in (MLVAE, VAE, AdaVAE, ConditionalVAE, DirVAE, SVQVAE, VSAE, DCEVAE, Rotations)
}


def build(
    shape: Sequence[int],
    config: Mapping[str, object],
    *,
    group_names: Sequence[object] | None = None,
    data: GroupedData | None = None,
    parts: Sequence[type] = (),
) -> Any:
    """Build the model that a plain dictionary describes, as configs and checkpoints hold it.

    Args:
        shape: shape of one observation; images (channels, height, width).
        config: ``name`` of the model, and its keyword arguments. ``network``, ``likelihood`` and
            other parts are dictionaries themselves. ``model.config`` is such a dictionary.
        group_names: labels of the groups of the training data, for a model with the option
            ``group_names`` that ``config`` does not set.
        data: the training data, of which a likelihood of a table takes the columns and their
            scales, if ``config`` does not set them.
        parts: classes of your own that ``config`` names: networks, likelihoods, and models with
            the attribute ``Options``.

    Raises:
        InputError: if a name or an option is unknown, or a value is out of range.
    """
    if not isinstance(config, Mapping):
        raise InputError(
            f"model must be options by name, its name among them, not {shown(config)}"
        )
    values = dict(config)
    name = values.pop("name", None)
    check_classes(parts)
    own = [part for part in parts if not is_dataclass(part)]
    model: Any = chosen(name, [*MODELS.values(), *own], "model.name")
    known = model.Options.__dataclass_fields__
    for key in values:
        check_choice(f"an option of model {model.__name__}", key, known)
    if "group_names" in known and values.get("group_names") is None:
        values["group_names"] = _names(values, group_names, data)
    mine = [part for part in parts if is_dataclass(part)]
    likelihoods = [*LIKELIHOODS, *TABLE_LIKELIHOODS, *mine]
    kinds = {Network: [*NETWORKS, *mine], Likelihood: likelihoods}
    if data is not None:
        check_type("data", data, GroupedData, "GroupedData")
        values = _with_columns(values, data)
    options = from_config(values, (model.Options,), "model", kinds)
    return model(shape, **vars(options))


def _names(
    values: Mapping[str, Any], group_names: Any, data: GroupedData | None
) -> Sequence[object] | dict[str, Sequence[object]] | None:
    """The labels of the groups of the training data; of each grouping that has a content."""
    dims = values.get("content_dim")
    if not isinstance(dims, Mapping) or not isinstance(data, GroupedData):
        return group_names
    for name in dims:
        check_choice("a grouping of model.content_dim", name, list(data.groupings))
    return {name: data.groupings[name].names for name in dims}


def _with_columns(values: dict[str, Any], data: GroupedData) -> dict[str, Any]:
    """The options of a model whose likelihood of a table has the columns of ``data``."""
    likelihood = values.get("likelihood")
    if not isinstance(likelihood, Mapping) or likelihood.get("columns"):
        return values
    known = {part.__name__: part for part in TABLE_LIKELIHOODS}
    part = known.get(str(likelihood.get("name")))
    return values if part is None else {**values, "likelihood": to_config(part.of(data))}


def rebuilt(model: Any) -> Any:
    """A model with the options of ``model`` and new initial weights.

    Networks and likelihoods may be of any class: the objects themselves are used.

    Raises:
        InputError: if the model states neither ``options`` nor a ``config``.
    """
    options, stated = getattr(model, "options", None), traits(model)
    if stated.shape is not None and isinstance(options, getattr(type(model), "Options", ())):
        return type(model)(stated.shape, **vars(options))
    if stated.shape is None or stated.config is None:
        raise InputError(
            f"a {type(model).__name__} states no options from which it could be built again"
        )
    return build(stated.shape, stated.config)


def plain_vae(model: Any) -> VAE:
    """A plain VAE with the network, the likelihood and the number of latent dimensions of a model.

    It is the control of :func:`mlvae.evaluation.evaluate`: train it in the same way, and pass it
    as ``vae``.

    Args:
        model: with ``options``, as the models of this library have them.

    Raises:
        InputError: if the model has no such options.

    Example:
        >>> print(plain_vae(MLVAE((12,), content_dim=3, style_dim=2)))
        VAE of observations (12,): latent 5, Bernoulli, 20,522 parameters
          encoder           11,510  Linear 12 -> 500, Linear 500 -> 10
          decoder            9,012  Linear 5 -> 500, Linear 500 -> 12
    """
    options = getattr(model, "options", None)
    values = vars(options) if is_dataclass(options) else {}
    dims = [
        sum(value.values()) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if name.endswith("_dim")
    ]
    if not dims or not {"network", "likelihood"} <= values.keys():
        raise InputError(
            f"a {type(model).__name__} must have options with a network, a likelihood and "
            "dimensions, for a VAE like it; build mlvae.models.VAE(shape) yourself"
        )
    kept = {name: values.get(name) for name in ("network", "likelihood", "standardise")}
    return VAE(model.shape, latent_dim=sum(dims), **kept)


def check_classes(parts: object) -> None:
    """Raise :class:`InputError` unless ``parts`` are dataclasses, or models with options."""
    if not isinstance(parts, list | tuple):
        raise InputError(f"parts must be a list of classes, as [MyNetwork], not {shown(parts)}")
    for part in parts:
        if not isinstance(part, type) or not (is_dataclass(part) or hasattr(part, "Options")):
            raise InputError(
                "parts must be classes of networks and likelihoods, which are dataclasses, or of "
                f"models with the attribute Options, not {shown(part)}"
            )
