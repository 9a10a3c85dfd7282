"""Pages of the documentation with a measured table: notes by hand around a generated part."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mlvae.errors import InputError
from mlvae.training.files import replace_file

__all__ = ["BEGIN", "END", "notes", "write"]

#: The lines around the generated part of a page.
BEGIN = "<!-- measured: `mlvae reproduce` writes this part -->"
END = "<!-- end of the measured part -->"


def write(page: Path, table: str, figures: Iterable[Path] = ()) -> None:
    r"""Write a table into a page, and copy its figures. Text outside the two marks is kept.

    A page that does not exist is made, with the title of the table as its heading. The figure
    ``points.png`` of the page ``mine.md`` is ``mine_points.png``: other pages may have points too.

    Args:
        page: path of a Markdown file.
        table: a heading and the measured panels, as :func:`mlvae.commands.tables.render` returns.
        figures: pictures that the table links to.

    Raises:
        InputError: if an existing page does not have the two marks once each, in their order.

    >>> import tempfile
    >>> page = Path(tempfile.mkdtemp()) / "mine.md"
    >>> write(page, "## Mine\n\n| | one |\n|---|---|\n| a | 1.0 |\n")
    >>> print(page.read_text())
    # Mine
    <BLANKLINE>
    <!-- measured: `mlvae reproduce` writes this part -->
    <BLANKLINE>
    | | one |
    |---|---|
    | a | 1.0 |
    <BLANKLINE>
    <!-- end of the measured part -->
    <BLANKLINE>
    """
    heading, _, measured = table.partition("\n")
    before, after = notes(page) if page.exists() else (f"# {heading.lstrip('# ')}\n\n", "\n")
    page.parent.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        name = f"{page.stem}_{figure.name}"
        replace_file(page.parent / name, figure.read_bytes())
        measured = measured.replace(f"]({figure.name})", f"]({name})")
    content = f"{before}{BEGIN}\n\n{measured.strip()}\n\n{END}{after}"
    replace_file(page, content.encode())


def notes(page: Path) -> tuple[str, str]:
    """The texts before and after the generated part of an existing page.

    Raises:
        InputError: if the page does not have the two marks once each, in their order.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or text.count(BEGIN) + text.count(END) != 2:
        raise InputError(
            f"{page} must have the lines {BEGIN} and {END} once each; add them, or delete the page"
        )
    return before, after
