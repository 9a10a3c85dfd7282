"""Groups by their labels, as Python, a config, a command line or a text file gives them.

Shapes: G groups.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlvae.data.collections.regular import read_regular
from mlvae.data.grouped import GroupedData
from mlvae.errors import InputError, shown

__all__ = ["held_groups", "label_text", "listed_labels"]

#: Largest file of labels in bytes.
MAX_LIST = 2**28


def held_groups(data: GroupedData, labels: Sequence[object], option: str) -> Tensor:
    """A mask (G,) of the groups with these labels; ``option`` is named in errors."""
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise InputError(f"{option} must be a list of group labels, not {shown(labels)}")
    chosen = torch.zeros(len(data.group_names), dtype=torch.bool)
    texts: dict[str, list[int]] = {}
    for index, name in enumerate(data.group_names):
        for text in {label_text(name), str(name)}:
            texts.setdefault(text, []).append(index)
    for label in labels:
        found = texts.get(str(label)) or texts.get(label_text(label)) or []
        if len(found) > 1:  # the same text, as of 7 and "7"
            found = [i for i in found if _same(data.group_names[i], label)] or found
        if not found:
            names = [label_text(name) for name in data.group_names[:10]]
            examples = ", ".join(names) + (", ..." if len(data.group_names) > 10 else "")
            raise InputError(
                f"{option} must be labels of groups ({examples}), not {shown(label_text(label))}"
            )
        if len(found) > 1:
            several = [data.group_names[i] for i in found]
            raise InputError(
                f"{option} must name one group each, but {shown(label)} may be any of "
                f"{shown(several)}"
            )
        chosen[found] = True
    return chosen


def label_text(label: object) -> str:
    """A label as on a command line: 7 for 7 and 7.0, words in Unicode normal form C."""
    if isinstance(label, float | np.floating) and label.is_integer():
        return str(int(label))
    return unicodedata.normalize("NFC", str(label))


def listed_labels(path: Path, option: str) -> list[str]:
    """Labels in a text file in UTF-8: each line up to its first tab."""
    try:
        content = read_regular(path.expanduser(), MAX_LIST).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{option} must be a number, a fraction, a list of labels or a text file of them, but "
            f"{path} cannot be read: {error}"
        ) from error
    lines = re.split("\r\n|\r|\n", content)
    return [line.split("\t")[0].strip(" ") for line in lines if line.strip()]


def _same(name: object, label: object) -> bool:
    """Whether a group's name is a label exactly: words as words, numbers as numbers."""
    return isinstance(name, str) == isinstance(label, str) and name == label
