"""Write answers to files: metrics.json, figures, and the report as one HTML page."""

from __future__ import annotations

import base64
import html
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from mlvae.data.collections.members import HARMFUL, printable
from mlvae.evaluation.answer import Answer, Estimate, Figure

__all__ = ["json_values", "link_explorer", "page", "write"]

TEMPLATE = Path(__file__).with_name("report.html")

#: The place of the link to the explorer in a report.
LINK_BEGIN, LINK_END = "<!-- explorer -->", "<!-- end of explorer -->"


def write(
    folder: Path,
    answers: Mapping[str, Answer],
    *,
    title: str,
    facts: Mapping[str, str],
    config: str = "",
    opening: Sequence[str] = (),
) -> dict[str, object]:
    """Write all files into an empty ``folder`` and return the content of ``metrics.json``.

    ``opening`` are the first paragraphs of the page.
    """
    measured = {name: answer.metrics for name, answer in answers.items()}
    numbers = {"facts": facts, "verdict": opening, **measured}
    metrics = {name: json_values(value) for name, value in numbers.items()}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    for answer in answers.values():
        for figure in answer.figures:
            (folder / f"{figure.name}.png").write_bytes(figure.png)
        if answer.embeddings:
            _write_projector(folder / "projector", answer.embeddings)
    text = page(answers, title=title, facts=facts, config=config, opening=opening)
    (folder / "report.html").write_text(text, encoding="utf-8")
    return metrics


def page(
    answers: Mapping[str, Answer],
    *,
    title: str,
    facts: Mapping[str, str],
    config: str = "",
    opening: Sequence[str] = (),
) -> str:
    """One HTML page with all figures embedded, which loads no other file and no other host.

    It opens with the paragraphs of ``opening`` and the picture of swaps. Questions that were not
    evaluated are one line each at the end.
    """
    from jinja2 import Environment  # a local import: it takes seconds

    environment = Environment(autoescape=True, finalize=_lines)
    environment.filters["source"] = _source
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    first = _first_picture(answers)
    return template.render(
        answers={name: answer for name, answer in answers.items() if not answer.reason},
        left_out=[answer for answer in answers.values() if answer.reason],
        first=first,
        opening=opening,
        title=title,
        facts=facts,
        config=config,
    )


def link_explorer(report: Path, explorer: Path) -> None:
    """Put a link to the page ``explorer`` into a report; nothing if one of the two is missing.

    The link is relative, so the folder of a run may move.
    """
    if not report.is_file() or not explorer.is_file():
        return
    try:
        address = quote(Path(os.path.relpath(explorer, report.parent)).as_posix())
    except ValueError:  # another drive of Windows has no relative path
        address = explorer.absolute().as_uri()
    text = report.read_text(encoding="utf-8")
    before, begin, rest = text.partition(LINK_BEGIN)
    _, end, after = rest.partition(LINK_END)
    if not begin or not end:  # a report of an earlier version
        return
    link = f'<p><a href="{html.escape(address)}">Explore the model</a>: swaps and maps, live.</p>'
    report.write_text(f"{before}{begin}{link}{end}{after}", encoding="utf-8")


def _first_picture(answers: Mapping[str, Answer]) -> Figure | None:
    """The picture of swaps, or else of reconstructions; None if there is neither."""
    figures = [figure for answer in answers.values() for figure in answer.figures]
    for kind in ("swaps_", "reconstructions_"):
        for figure in figures:
            if figure.name.startswith(kind):
                return figure
    return None


def json_values(value: object) -> object:
    """``value`` as JSON types: :class:`Estimate` as a dictionary, NaN and infinity as null."""
    if isinstance(value, Estimate):
        return {name: json_values(number) for name, number in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _lines(value: object) -> object:
    """A text without control characters and lone surrogates, which HTML cannot have."""
    if type(value) is not str or not HARMFUL.search(value):
        return value
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in value.split("\n"))


def _source(figure: Figure) -> str:
    """The picture as a data URL."""
    if figure.svg is not None:
        content, kind = figure.svg.encode(), "svg+xml"
    else:
        content, kind = figure.png, "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _write_projector(folder: Path, embeddings: Mapping[str, tuple]) -> None:
    """Write codes with labels and images for TensorBoard's projector."""
    from torch.utils.tensorboard import SummaryWriter  # a local import: it takes seconds

    with SummaryWriter(folder) as writer:
        for name, (codes, labels, pictures) in embeddings.items():
            writer.add_embedding(codes, labels, pictures, tag=name)
