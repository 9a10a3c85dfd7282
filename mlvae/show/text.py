"""Labels of figures: any text of a user in one line, in fonts that have its characters."""

from __future__ import annotations

from functools import cache
from typing import Any

from mlvae.data.collections.members import printable

__all__ = ["LONGEST", "STYLE", "fonts", "legible"]

LONGEST = 32  # largest number of characters of a label
#: Fonts for the scripts that DejaVu Sans lacks; those that are installed are used.
FALLBACKS = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Noto Sans SC",
    "IPAexGothic",
    "Hiragino Sans",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "WenQuanYi Zen Hei",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Emoji",
    "Symbola",
)
#: Parameters of matplotlib for all figures.
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "text.parse_math": False,  # labels are text: $ and _ have no meaning
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    "font.size": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "mlvae",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def legible(label: object, longest: int = LONGEST) -> str:
    r"""A label as a figure shows it: in one line, with at most ``longest`` characters.

    A longer label is cut in the middle. A character that no font of the figure has, and a control
    character, is written as ``\uXXXX``.

    Example:
        >>> legible("two\nlines"), legible("a" * 40)
        ('two lines', 'aaaaaaaaaaaaaaa…aaaaaaaaaaaaaaaa')
    """
    known = _characters()
    words = printable(" ".join(str(label).split()))
    text = "".join(c if c == " " or ord(c) in known else ascii(c)[1:-1] for c in words)
    if len(text) > longest:
        text = f"{text[: longest // 2 - 1]}…{text[-(longest // 2) :]}"
    return text


@cache
def fonts() -> list[str]:
    """The families of the figures' texts, in order of preference; all are installed."""
    from matplotlib.font_manager import fontManager  # takes seconds to import

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *[name for name in FALLBACKS if name in installed]]


@cache
def _characters() -> frozenset[int]:
    """The code points that the fonts of the figures have."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset().union(*[get_font(findfont(name)).get_charmap() for name in fonts()])
