"""A file of a collection, or why it is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["MAX_FILE", "MAX_NAME", "Member", "Refusal", "member", "printable"]

#: Larger files are not read: no photograph is that large.
MAX_FILE = 64 * 2**20

#: Longer names, in characters, are not kept: one would make a table of names as wide as itself.
MAX_NAME = 500


class Member(NamedTuple):
    """A file of a collection.

    Attributes:
        name: its path within the source, with slashes.
        size: in bytes.
        read: gives its bytes; where the source is ``streamed``, only until the next member is
            asked for.
    """

    name: str
    size: int
    read: Callable[[], bytes]


class Refusal(NamedTuple):
    """A file that is not used, and why, as a phrase that follows its name."""

    name: str
    reason: str


def member(name: str, size: int, read: Callable[[], bytes]) -> Member | Refusal:
    """A member, or a refusal if it is larger than any photograph, or its name longer."""
    if len(name) > MAX_NAME:
        return Refusal(f"{name[:60]}...", f"has a path of {len(name):,} characters")
    if size > MAX_FILE:
        return Refusal(name, f"has {size:,} bytes, more than the {MAX_FILE:,} of a photo")
    return Member(name, size, read)


def printable(name: str) -> str:
    """A name as it can be shown anywhere: what is no printable character is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
