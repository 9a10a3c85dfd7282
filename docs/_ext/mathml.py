"""Formulas as MathML, made by docutils: pages need neither a script nor a network."""

from __future__ import annotations

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the renderer, and select it."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.config["html_math_renderer"] = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def inline(translator: nodes.NodeVisitor, node: nodes.Element) -> None:
    """Write a formula within a line."""
    translator.body.append(mathml(node, as_block=False))  # type: ignore[attr-defined]
    raise nodes.SkipNode


def block(translator: nodes.NodeVisitor, node: nodes.Element) -> None:
    """Write a displayed formula."""
    formula = mathml(node, as_block=True)
    translator.body.append(f'<div class="math" style="overflow-x: auto">{formula}</div>')  # type: ignore[attr-defined]
    raise nodes.SkipNode


def mathml(node: nodes.Element, *, as_block: bool) -> str:
    """The MathML of a node; a formula with an unknown command is a warning of the build."""
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        return ""
