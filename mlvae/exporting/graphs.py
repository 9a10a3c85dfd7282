"""The graphs of a model as modules: encoder, style, decoder.

A graph computes every observation by itself. What a group shares is a sum over its members, which
is left to the client (:mod:`mlvae.exporting.codes`).

Shapes: N observations, ... the shape of one observation, D dimensions of a code.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.errors import InputError, check_choice, shown
from mlvae.evidence.rules import accumulated
from mlvae.exporting.codes import ExportedCode, exported_codes
from mlvae.exporting.singletons import Singletons
from mlvae.groups import Groups
from mlvae.models.observed import is_of_counts
from mlvae.models.protocol import Traits, has_codes, traits

__all__ = ["DTYPES", "Graph", "graphs_of"]

#: Types of the observations that a graph takes: "auto" is uint8 for images, else float32.
DTYPES = ("auto", "uint8", "float32")

#: Observations of the example that is traced. A graph of one observation would keep this number.
EXAMPLE = 2


@dataclass(frozen=True)
class Graph:
    """A module that becomes one file.

    Attributes:
        name: "encoder", "style" or "decoder".
        module: from the inputs to a tuple of outputs.
        inputs: an example of each input by name, with :data:`EXAMPLE` rows.
        outputs: names of the outputs.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]


def graphs_of(model: Any, dtype: str = "auto") -> tuple[list[Graph], list[ExportedCode]]:
    """The graphs of a model, and its codes.

    Args:
        model: a model with codes.
        dtype: one of :data:`DTYPES`.

    Raises:
        InputError: if the model cannot be exported.
    """
    stated = _checked(model, dtype)
    model = copy.deepcopy(model).cpu().float().eval()
    images = _pixels(model, dtype)
    x = torch.rand(EXAMPLE, *stated.shape, generator=torch.Generator().manual_seed(0))
    inputs = {"x": (255 * x).to(torch.uint8) if images else x.round()}
    if stated.missing_cells:
        cells = len(model.likelihood.columns)
        inputs["observed"] = torch.ones(EXAMPLE, cells, dtype=torch.bool)
    with torch.no_grad():  # also fills the caches of likelihoods with tensors of numbers
        found = _codes(model, stated, inputs)
        codes = exported_codes(found, stated)
        _check_sums(model, stated, inputs, codes)
    graphs = _encoders(model, stated, codes, inputs)
    graphs.append(_decoder(model, stated, {name: q.mean.shape[1] for name, q in found.items()}))
    return graphs, codes


def _checked(model: Any, dtype: str) -> Any:
    """The traits of a model that can be exported."""
    check_choice("dtype", dtype, DTYPES)
    if not has_codes(model):
        raise InputError(f"model must have codes and decode, as a MLVAE, not {shown(model)}")
    stated, name = traits(model), type(model).__name__
    if stated.shape is None:
        raise InputError(f"a {name} cannot be exported: it states no shape of an observation")
    unknown = stated.needs - {"label"}
    if unknown or (stated.given_codes and not stated.unconditional_codes):
        needed = ", ".join(sorted(stated.needs or stated.given_codes))
        raise InputError(
            f"a {name} cannot be exported: it infers codes from observations and the given values "
            f"{needed}, of which an encoder has none"
        )
    if stated.style_given_content and not callable(getattr(model, "posteriors", None)):
        raise InputError(
            f"a {name} cannot be exported: its style needs the content, so it must have "
            "posteriors(x), as MLVAE has it"
        )
    return stated


def _pixels(model: Any, dtype: str) -> bool:
    """Whether the observations are uint8 images, which the graph divides by 255."""
    shape = model.shape
    image = len(shape) == 3 and shape[0] in (1, 3) and not is_of_counts(model.likelihood)
    if dtype == "uint8" and not image:
        raise InputError(
            f"dtype=uint8 is for images (1 or 3, height, width), not for observations of shape "
            f"{tuple(shape)}; set dtype=float32"
        )
    return image and dtype != "float32"


# Encoder


def _codes(model: Any, stated: Traits, inputs: Mapping[str, Tensor]) -> Mapping[str, Any]:
    """The posterior of every code from inputs of an encoder, each observation by itself."""
    return model.codes(_batch(stated, inputs))


def _batch(
    stated: Traits, inputs: Mapping[str, Tensor], groupings: Mapping[str, Groups] | None = None
) -> Batch:
    """A batch of inputs of an encoder; None: every observation is a group in all groupings."""
    x = inputs["x"]
    x = x.to(torch.float32) / 255 if x.dtype == torch.uint8 else x
    given = {name: values for name, values in inputs.items() if name != "x"}
    if "label" in stated.needs:  # its codes are not among the outputs
        given["label"] = torch.zeros(len(x), dtype=torch.int64)
    if groupings is None:
        return Batch(x, Singletons(x), given)
    return Batch.of(x, groupings, given)


class _Encoder(nn.Module):
    """From observations to the columns of codes."""

    def __init__(
        self, model: nn.Module, stated: Traits, codes: Sequence[ExportedCode], names: Sequence[str]
    ) -> None:
        super().__init__()
        self.model, self.stated, self.codes, self.names = model, stated, codes, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Columns (N, D) of every code, from the inputs by their order."""
        found = _codes(self.model, self.stated, dict(zip(self.names, inputs, strict=True)))
        return tuple(column for code in self.codes for column in code.values(found[code.name]))


class _Style(nn.Module):
    """From observations and contents to the style."""

    def __init__(
        self, model: nn.Module, stated: Traits, code: ExportedCode, names: Sequence[str]
    ) -> None:
        super().__init__()
        self.model, self.stated, self.code, self.names = model, stated, code, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Columns (N, D) of the style, from inputs of the encoder and contents (N, D)."""
        number, model = len(self.names), cast("Any", self.model)
        batch = _batch(self.stated, dict(zip(self.names, inputs[:number], strict=True)))
        given = (batch.given,) if self.stated.missing_cells else ()
        _, style_given = model.posteriors(batch.x, *given)
        return self.code.values(style_given(torch.cat(inputs[number:], 1)))  # sorted by name


def _encoders(
    model: Any, stated: Traits, codes: Sequence[ExportedCode], inputs: Mapping[str, Tensor]
) -> list[Graph]:
    """The encoder, and where the style needs the content, a graph of its own for the style."""
    apart = [code for code in codes if stated.style_given_content and code.grouping is None]
    alone = [code for code in codes if code not in apart]
    columns = [column for code in alone for column in code.columns]
    graphs = [Graph("encoder", _Encoder(model, stated, alone, list(inputs)), inputs, columns)]
    for code in apart:
        shared = sorted((c for c in alone if c.grouping is not None), key=lambda c: c.name)
        contents = {c.name: torch.zeros(EXAMPLE, c.dim) for c in shared}
        module = _Style(model, stated, code, list(inputs))
        graphs.append(Graph("style", module, {**inputs, **contents}, code.columns))
    return graphs


def _check_sums(
    model: Any, stated: Traits, inputs: Mapping[str, Tensor], codes: Sequence[ExportedCode]
) -> None:
    """Raise :class:`InputError` unless the sum over a group gives the posterior of the model."""
    whole, shared = Groups([0] * EXAMPLE), [code for code in codes if code.grouping is not None]
    if not shared:
        return
    single = _codes(model, stated, inputs)
    groupings = {str(code.grouping): whole for code in shared}
    together = model.codes(_batch(stated, inputs, groupings))
    for code in shared:
        summed = accumulated(single[code.name], whole, stated.pooling.get(code.name)).mean
        if not torch.allclose(summed[0], together[code.name].mean[0], rtol=1e-3, atol=1e-4):
            raise InputError(
                f"a {type(model).__name__} cannot be exported: the {code.name} of a group must be "
                f"the {code.rule} of the posteriors of its members; state the rule in `pooling`"
            )


# Decoder


class _Decoder(nn.Module):
    """From codes and further values of each row to the expected observation."""

    def __init__(self, model: nn.Module, names: Sequence[str], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.model, self.names, self.dims = model, names, dims

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """The expected observations (N, ...) of inputs by their order; other codes are zero."""
        model: Any = self.model
        values = dict(zip(self.names, inputs, strict=True))
        unused = {name: dim for name, dim in self.dims.items() if name not in values}
        rows = len(inputs[0])
        zeros = {name: inputs[0].new_zeros(rows, dim) for name, dim in unused.items()}
        return (model.decode(**values, **zeros),)


def _decoder(model: Any, stated: Traits, dims: Mapping[str, int]) -> Graph:
    """The decoder; a code that has no effect on the expected observation is no input."""
    inputs = {name: torch.full((EXAMPLE, dim), 1 / dim) for name, dim in dims.items()}
    with torch.enable_grad():
        leaves = {name: value.requires_grad_() for name, value in inputs.items()}
        expected = model.decode(**leaves)
        found = torch.autograd.grad(expected.sum(), list(leaves.values()), allow_unused=True)
    used = [name for name, gradient in zip(leaves, found, strict=True) if gradient is not None]
    inputs = {name: inputs[name].detach() for name in used}
    further = inspect.signature(model.decode).parameters
    if "size" in further and is_of_counts(model.likelihood):
        inputs["size"] = torch.full((EXAMPLE,), float(model.likelihood.total))
    for name in stated.decode_given:
        inputs[name] = torch.ones(EXAMPLE)
    return Graph("decoder", _Decoder(model, list(inputs), dims), inputs, ["expected"])
