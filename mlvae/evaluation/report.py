"""Answers as files: metrics.json for programs, figures, and one page for people."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path

from mlvae.evaluation.answer import Answer, Estimate, Figure

__all__ = ["page", "plain", "write"]

TEMPLATE = Path(__file__).with_name("report.html")


def write(
    folder: Path,
    answers: Mapping[str, Answer],
    *,
    title: str,
    facts: Mapping[str, str],
    config: str = "",
) -> dict[str, object]:
    """Write everything into an empty ``folder``; return what ``metrics.json`` holds."""
    metrics = plain({"facts": facts, **{name: of.metrics for name, of in answers.items()}})
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    for answer in answers.values():
        for figure in answer.figures:
            (folder / f"{figure.name}.png").write_bytes(figure.png)
        if answer.embeddings:
            _write_projector(folder / "projector", answer.embeddings)
    html = page(answers, title=title, facts=facts, config=config)
    (folder / "report.html").write_text(html, encoding="utf-8")
    return metrics


def page(
    answers: Mapping[str, Answer],
    *,
    title: str,
    facts: Mapping[str, str],
    config: str = "",
) -> str:
    """One HTML page that holds all it shows, and asks no other file or host for anything."""
    from jinja2 import Environment  # seconds that `import mlvae` need not take

    environment = Environment(autoescape=True)
    environment.filters["source"] = _source
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(answers=answers, title=title, facts=facts, config=config)


def plain(value: object) -> object:
    """What JSON can hold: an :class:`Estimate` as a dictionary, NaN as null."""
    if isinstance(value, Estimate):
        return {name: plain(number) for name, number in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): plain(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [plain(of) for of in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _source(figure: Figure) -> str:
    """The picture itself as an address."""
    if figure.svg is not None:
        content, kind = figure.svg.encode(), "svg+xml"
    else:
        content, kind = figure.png, "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _write_projector(folder: Path, embeddings: Mapping[str, tuple]) -> None:
    """Codes for TensorBoard's projector, with labels and pictures."""
    from torch.utils.tensorboard import SummaryWriter  # likewise

    with SummaryWriter(folder) as writer:
        for name, (codes, labels, pictures) in embeddings.items():
            writer.add_embedding(codes, labels, pictures, tag=name)
