"""WebDataset shards: tar archives in which the files of one sample have one name, without ending.

``0001.jpg`` and ``0001.cls`` are a sample: an image, and a file with its label. Files of a sample
follow one another in the archive. The name of a sample ends at the first dot of its last part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mlvae.data.collections import members
from mlvae.data.collections.archives import Tar
from mlvae.data.collections.members import Member, Refusal, escaped, printable, refusal

__all__ = ["ENDINGS", "Samples"]

#: Endings of a file with the label of its sample: one word, or a record of columns.
ENDINGS = ("cls", "txt", "json")

#: Largest number of files, and of bytes, of a sample: they are read together.
MAX_FILES, MAX_BYTES = 50, 2 * members.MAX_FILE


class Samples:
    """The images of a tar archive, with the columns of the file with their label.

    Args:
        archive: the archive.
        labels: ending of the files with the labels, one of :data:`ENDINGS`. ``cls`` and ``txt``
            have one word, the column ``identity``. ``json`` has a record, whose texts and numbers
            are the columns.
    """

    streamed = True

    def __init__(self, archive: Tar, labels: str) -> None:
        self.archive, self.labels = archive, labels
        self.root = archive.root

    def fingerprint(self) -> Iterator[str]:
        """One line, which changes with the archive's name, size or time of change."""
        return self.archive.fingerprint()

    def members(self) -> Iterator[Member | Refusal]:
        """Every file except those with the labels, sample after sample."""
        from mlvae.data.collections.decoders import read_content  # needs Pillow

        sample: list[Member] = []
        key, size = None, 0
        for found in self.archive.members():
            if isinstance(found, Refusal):
                yield found
                continue
            if _key(found.real) != key:
                yield from self._labelled(sample)
                key, size, sample = _key(found.real), 0, []
            size += found.size
            if len(sample) == MAX_FILES or size > MAX_BYTES:
                yield refusal(found.name, "is in a sample with too many files or bytes")
                continue
            # Read now: an archive gives the content of a file only before its next file.
            content = read_content(found.read)
            sample.append(found._replace(read=lambda content=content: content))
        yield from self._labelled(sample)

    def _labelled(self, sample: list[Member]) -> Iterator[Member | Refusal]:
        """The files of a sample with its columns, or refusals if it has none."""
        ending = f".{self.labels}"
        label = next((file for file in sample if file.real.lower().endswith(ending)), None)
        columns = None if label is None else _columns(label.read(), self.labels)
        for file in sample:
            if file is label:
                continue
            if label is None:
                yield Refusal(file.name, f"has no file {ending} beside it")
            elif columns is None:
                yield Refusal(file.name, f"has a damaged {printable(label.name)} beside it")
            else:
                yield file._replace(columns=columns)


def _key(name: str) -> str:
    """The name of a file's sample."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _columns(content: Any, labels: str) -> dict[str, str] | None:
    """The columns that a file with a label has; None if it is damaged."""
    if not isinstance(content, bytes):  # it cannot be read
        return None
    try:
        text = content.decode()
        if labels != "json":
            return {"identity": escaped(text.strip())}
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    return {
        escaped(str(name)): "" if value is None else escaped(str(value))
        for name, value in record.items()
        if not isinstance(value, dict | list)
    } or None
