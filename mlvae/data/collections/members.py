"""The files of a source: usable members, refusals with a reason, and the rules for their names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import IO, NamedTuple

__all__ = [
    "MAX_FILE",
    "MAX_NAME",
    "Member",
    "Refusal",
    "escaped",
    "first_line",
    "is_system_part",
    "member",
    "printable",
    "read_exactly",
    "refusal",
]

#: Largest file that is read, in bytes: no photograph is larger.
MAX_FILE = 64 * 2**20

#: Longest name that is kept, in characters: an array of names is as wide as its longest.
MAX_NAME = 500

#: Files and folders of operating systems and servers, beside those that begin with a dot.
SYSTEM = {
    "#recycle",
    "$recycle.bin",
    "@eadir",
    "__macosx",
    "desktop.ini",
    "lost+found",
    "system volume information",
    "thumbs.db",
}

#: Characters that can neither be stored as UTF-8 nor shown without harm: control characters, line
#: and paragraph separators, marks of the writing direction, annotations, invisible tags, and
#: halves of surrogate pairs.
HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufff9-\ufffb\U000e0001-\U000e007f]"
)

#: A backslash in a name that would read as the escape of a harmful character.
LOOKALIKE = re.compile(r"(?<!\\)\\++(?=[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U000e00[0-7][0-9a-f])")


class Member(NamedTuple):
    """A file of a source.

    Attributes:
        name: path within the source, with slashes, as :func:`escaped` gives it: to be shown.
        size: in bytes.
        read: returns the bytes. If the source is ``streamed``, it works once and only until the
            source gives the next member.
        real: the path in Unicode normal form C, not escaped: to be matched.
        columns: the columns that the source itself has of the file, escaped; None: none.
    """

    name: str
    size: int
    read: Callable[[], bytes]
    real: str
    columns: dict[str, str] | None = None


class Refusal(NamedTuple):
    """A file that is not used, and the reason, a phrase that follows the file's name."""

    name: str
    reason: str


def member(name: str, size: int, read: Callable[[], bytes]) -> Member | Refusal:
    """A member, or a refusal if the file or its name is too large."""
    if len(name) > MAX_NAME:
        return refusal(name, f"has a path of {len(name):,} characters")
    if size > MAX_FILE:
        return refusal(name, f"has {size:,} bytes, more than the limit of {MAX_FILE:,}")
    return Member(escaped(name), size, read, unicodedata.normalize("NFC", name))


def refusal(name: str, reason: str) -> Refusal:
    """A refusal of a file, whose name is escaped, and cut if it is too long."""
    return Refusal(escaped(name) if len(name) <= MAX_NAME else f"{escaped(name[:60])}...", reason)


def printable(text: str) -> str:
    """Unicode normal form C of a text, with harmful characters escaped.

    Two spellings of one name (a letter and its accent as one or as two characters) become equal.
    Spaces of any width stay as they are. For messages: a second time, nothing changes.
    """
    return HARMFUL.sub(lambda match: ascii(match[0])[1:-1], unicodedata.normalize("NFC", text))


def escaped(name: str) -> str:
    r"""As :func:`printable`, for names and labels: two that differ stay different.

    A backslash that would read as an escape is doubled: the name ``a\x1b`` of five characters is
    not the name that has an escape character.
    """
    return printable(LOOKALIKE.sub(lambda match: match[0] * 2, name))


def is_system_part(part: str) -> bool:
    """Whether a part of a path is hidden or belongs to an operating system."""
    return part.startswith(".") or part.casefold() in SYSTEM


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or the name of its type if it has none."""
    return printable((str(error).splitlines() or [""])[0]) or type(error).__name__


def read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, which the caller has bounded.

    Raises:
        EOFError: if the stream ends before.
    """
    content = stream.read(size)
    if len(content) != size:
        raise EOFError(f"{len(content)} of {size} bytes")
    return content
