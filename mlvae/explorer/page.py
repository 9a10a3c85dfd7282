"""The explorer: one page that decodes in the browser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlvae.arguments import as_path
from mlvae.data import GroupedData, Splits
from mlvae.data.collections.members import HARMFUL, printable
from mlvae.errors import InputError, check_choice, check_integer, shown
from mlvae.explorer.arrays import TYPES, Arrays
from mlvae.explorer.decoding import CHECKS, checks, decoder_inputs, program
from mlvae.explorer.posteriors import code_record, codes_of, grouping_of_codes
from mlvae.explorer.selection import Selection, selected
from mlvae.explorer.views import view_of
from mlvae.models.protocol import has_codes, traits
from mlvae.posteriors import Family
from mlvae.training import load
from mlvae.training.checks import with_needs
from mlvae.version import __version__

__all__ = ["explore"]

FOLDER = Path(__file__).parent

#: The scripts of the page in the order in which they run.
SCRIPTS = ("decoder.js", "evidence.js", "maps.js", "views.js", "page.js")

PRECISIONS = [name for name in TYPES if name.startswith("float")]


@dataclass(frozen=True)
class _Encoded:
    """A model with the observations of its page and their codes."""

    model: Any
    selection: Selection
    codes: Mapping[str, Family]


def explore(
    run_or_model: Any,
    data: GroupedData | Splits,
    path: str | Path = "explore.html",
    *,
    groups: int = 60,
    members: int = 12,
    precision: str = "float32",
    title: str | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write a page in which a reader explores a trained model, without Python and network.

    The page has a map of every code. A reader chooses a content and a style, interpolates
    between two of them, moves single dimensions, and adds members to the groups one by one. The
    page computes the decoder and the posteriors of groups itself. It is one file that opens by
    double click.

    The page shows observations of ``data``. Send it only to readers who may see them.

    Args:
        run_or_model: folder of a run, or a trained model with the codes of the library. The
            decoder is of a network and a likelihood of the library.
        data: splits, as :func:`mlvae.data.open_dataset` gives them: the page has test observations
            of the training's groups, and marks groups that occur in no training observation. Or
            :class:`~mlvae.GroupedData`.
        path: path of the page; an existing file is replaced.
        groups: largest number of groups in the page.
        members: number of members of each group, the largest k of its evidence.
        precision: of the decoder's weights: "float32", or "float16", which halves the page and
            changes decoded values by about 1e-3.
        title: title of the page; None: the class of the model.
        facts: further lines at the end of the page, by name.

    Returns:
        The path of the page.

    Raises:
        InputError: if the page cannot decode as the model does, or draw its observations; or if
            the data do not fit the model.

    Example:
        >>> import mlvae, tempfile
        >>> digits = mlvae.data.digits()
        >>> folder = tempfile.mkdtemp()
        >>> model = mlvae.models.MLVAE(digits.train.shape)
        >>> page = explore(model, digits, folder + "/explore.html")
        >>> page.name, "http-equiv" in page.read_text()
        ('explore.html', True)
    """
    check_integer("groups", groups, minimum=1)
    check_integer("members", members, minimum=1)
    check_choice("precision", precision, PRECISIONS)
    if facts is not None and not isinstance(facts, Mapping):
        raise InputError(f"facts must be lines by name, not {shown(facts)}")
    target = as_path("path", path)
    model = load(run_or_model) if isinstance(run_or_model, str | Path) else run_or_model
    if not has_codes(model) or not isinstance(model, torch.nn.Module):
        raise InputError(
            f"run_or_model must be a run or a model with codes and decode, not {shown(model)}"
        )
    training = model.training
    model.eval()
    try:
        record, arrays = _record(model, data, groups, members, precision)
    finally:
        model.train(training)
    record["title"] = title or type(model).__name__
    record["facts"] = {"mlvae": __version__, **(facts or {})}
    page = _page(record, arrays)
    try:
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"path {target} must be a file that can be written: {error.strerror}; choose another"
        ) from error
    return target


@torch.no_grad()
def _record(
    model: Any, data: GroupedData | Splits, groups: int, members: int, precision: str
) -> tuple[dict[str, Any], Arrays]:
    """All values of the page: as JSON, and as arrays."""
    arrays = Arrays(precision)
    data, left_out = _usable(model, data)
    selection = selected(data, groups=groups, members=members)
    codes = codes_of(model, selection)
    means = {name: q.mean for name, q in codes.items()}
    inputs = decoder_inputs(model, {name: mean[:4] for name, mean in means.items()})
    decoded = {name: q for name, q in codes.items() if name in inputs}  # the order of the model
    encoded = _Encoded(model, selection, decoded)
    record = {
        "model": type(model).__name__,
        "members": members,
        "left_out": left_out,
        "groupings": _groupings(selection, arrays),
        "codes": _codes(encoded, arrays),
        "view": view_of(selection, arrays),
        "program": program(model, inputs, arrays),
        "checks": checks(model, _some_swaps(encoded, means), arrays),
    }
    return record, arrays


def _usable(model: Any, data: GroupedData | Splits) -> tuple[GroupedData | Splits, list[str]]:
    """The data with the values that the model needs, and the names of parts that it cannot take.

    A model of known groups has no code of an unseen one.
    """
    if isinstance(data, GroupedData):
        _check_shape(model, data)
        return with_needs(model, data, "explored"), []
    if not isinstance(data, Splits):
        raise InputError(f"data must be Splits or GroupedData, not {shown(data)}")
    _check_shape(model, data.train)
    parts, left_out = {}, []
    for name, part in data:
        try:
            parts[name] = with_needs(model, part, name)
        except InputError:
            if name == "train" or not traits(model).given_codes:
                raise
            left_out.append(name)
    return Splits(**parts), left_out


def _check_shape(model: Any, data: GroupedData) -> None:
    shape = traits(model).shape
    if shape is None or tuple(shape) != data.shape:
        raise InputError(f"the model takes observations of shape {shape}, not {data.shape}")


def _groupings(selection: Selection, arrays: Arrays) -> list[dict[str, Any]]:
    return [
        {
            "name": grouping.name,
            "labels": [_text(label) for label in grouping.labels],
            "unseen": grouping.unseen,
            "sizes": grouping.sizes,
            "index": arrays.add(grouping.index, "int32"),
        }
        for grouping in selection.groupings.values()
    ]


def _codes(encoded: _Encoded, arrays: Arrays) -> list[dict[str, Any]]:
    """The records of the decoder's codes, those of groups first."""
    groupings = encoded.selection.groupings
    names = grouping_of_codes(encoded.model, list(encoded.codes), next(iter(groupings)))
    stated = traits(encoded.model)
    records = [
        code_record(name, q, stated, groupings.get(names.get(name, "")), arrays)
        for name, q in encoded.codes.items()
    ]
    return sorted(records, key=lambda record: record["grouping"] is None)


def _some_swaps(encoded: _Encoded, means: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Ten rows of every code, each code of other observations."""
    number = len(next(iter(means.values())))
    found = {}
    for place, (name, mean) in enumerate(means.items()):
        rows = (np.linspace(0, number - 1, CHECKS).astype(int) + 7 * place) % number
        found[name] = mean.float().cpu().numpy()[rows]
    return found


def _page(record: Mapping[str, Any], arrays: Arrays) -> str:
    """The page with everything that it needs."""
    from jinja2 import Environment  # a local import: it takes seconds

    scripts = [(FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS]
    # "<" as an escape of JSON: no text of the data can end the element.
    values = json.dumps(record, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    template = Environment(autoescape=True).from_string(
        (FOLDER / "template.html").read_text(encoding="utf-8")
    )
    return template.render(
        title=_text(record["title"]),
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        scripts=scripts,
        record=values,
        arrays=arrays.text(),
    )


def _text(label: Any) -> str:
    """A label in one line, without control characters; a missing one is "(none)"."""
    words = " ".join(str("(none)" if label is None else label).split())
    return printable(words) if HARMFUL.search(words) else words or "(empty)"
