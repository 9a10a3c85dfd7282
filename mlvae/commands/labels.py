"""Labels of groups and names of columns on the command line and in tables stay the typed text.

Hydra reads ``[007,1e3,yes,null]`` as 7, 1000.0, true and None. In quotes they are texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["with_quoted_labels"]

#: Options whose values are lists of labels or of names of columns.
LISTS = (
    "dataset.unseen_groups",
    "dataset.validation",
    "dataset.test",
    "dataset.factors",
    "evaluation.factors.categories",
    "evaluation.disentanglement.categories",
)
#: Options whose values are names of columns.
NAMES = ("dataset.group",)

#: A piece of a value: a text in quotes, a comma or bracket, or plain characters.
PIECE = re.compile(
    r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[\[\](){},]|(?:\\.|[^"'\[\](){},\\])+)"""
)


def with_quoted_labels(overrides: Iterable[str]) -> list[str]:
    """The arguments of a command line with quotes around each label and name of a column.

    Example:
        >>> with_quoted_labels(["dataset.unseen_groups=[007,no]", "seed=007"])
        ['dataset.unseen_groups=["007","no"]', 'seed=007']
    """
    return [_with_quotes(override) for override in overrides]


def _with_quotes(override: str) -> str:
    option, equals, value = override.partition("=")
    name = option.lstrip("+")
    if not equals or name not in (*LISTS, *NAMES):
        return override
    pieces = PIECE.findall(value)
    if "".join(pieces) != value:  # an open quote: Hydra names the error
        return override
    within = 0 if name in NAMES else 1
    text, brackets = "", ""
    for i, piece in enumerate(pieces):
        if piece in "[({":
            brackets += piece
        elif piece in "])}":
            brackets = brackets[:-1]
        elif _is_word(pieces, i) and len(brackets.replace("(", "")) == within:
            piece = _quoted(piece)
        text += piece
    return f"{option}={text}"


def _is_word(pieces: list[str], i: int) -> bool:
    """Whether piece ``i`` is a text without quotes, and neither the name of a function."""
    piece = pieces[i]
    if piece == "," or not piece.strip() or piece[0] in "\"'":
        return False
    before, after = pieces[i - 1 : i], pieces[i + 1 : i + 2]
    beside = [*before, *after]
    return "${" not in piece and not any(text[0] in "\"'{" for text in beside) and after != ["("]


def _quoted(text: str) -> str:
    """A text in quotes as Hydra reads it; outside of quotes, a backslash escapes a comma."""
    text = re.sub(r"\\(.)", r"\1", text.strip())
    escaped = re.sub(r'(\\+)(?="|\Z)', r"\1\1", text).replace('"', '\\"')
    return f'"{escaped}"'
