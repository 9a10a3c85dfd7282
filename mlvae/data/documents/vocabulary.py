"""The words that the columns of counts stand for, from a file with one word a line."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from mlvae.data.collections.regular import open_regular
from mlvae.errors import InputError, shown

__all__ = ["read_lines", "read_vocabulary"]


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a text file in UTF-8, which may be compressed (``.gz``).

    Args:
        path: the file.
        what: the option that names the file, first word of a message.

    Raises:
        InputError: if the file cannot be read.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read()
        if path.name.lower().endswith(".gz"):
            content = gzip.decompress(content)
        return content.decode("utf-8-sig").splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{what}={path} must be a text file in UTF-8: {reason}") from error


def read_vocabulary(path: Path, what: str = "dataset.vocabulary") -> list[str]:
    """The words of a file with one word a line, in the order of the columns.

    The number of the line, from 0 or from 1, may follow each word: ``write 1``.

    Args:
        path: the file.
        what: the option that names the file, first word of a message.

    Raises:
        InputError: if the file cannot be read, has an empty line, or a word twice.
    """
    words = [line.strip() for line in read_lines(path, what)]
    if not words:
        raise InputError(f"{what}={path} must have one word a line, but it is empty")
    words = _without_numbers(words)
    if "" in words:
        raise InputError(
            f"{what}={path} must have one word a line, but line {words.index('') + 1} is empty"
        )
    if len(set(words)) < len(words):
        known: set[str] = set()
        twice = next(word for word in words if word in known or known.add(word))
        raise InputError(f"{what}={path} must have different words, not two of {shown(twice)}")
    return words


def _without_numbers(lines: list[str]) -> list[str]:
    """The words without the number of their line, if all lines have it."""
    pairs = [line.rsplit(maxsplit=1) for line in lines]
    for first in (0, 1):
        if all(len(pair) == 2 and pair[1] == str(n) for n, pair in enumerate(pairs, first)):
            return [pair[0] for pair in pairs]
    return lines
