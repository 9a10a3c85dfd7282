"""Arrays of a page: their bytes one after the other, and the place of each."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

__all__ = ["Arrays"]

#: Names of types in the page, which decoder.js reads.
TYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4"}


class Arrays:
    """Arrays that a page has as one text in base64.

    Args:
        precision: type of the numbers that :meth:`weights` adds, "float32" or "float16".

    Example:
        >>> arrays = Arrays()
        >>> arrays.add(np.zeros((2, 3)))
        {'at': 0, 'type': 'float32', 'shape': [2, 3]}
        >>> arrays.add(np.ones(4))["at"]
        24
    """

    def __init__(self, precision: str = "float32") -> None:
        self.precision = precision
        self._parts: list[bytes] = []
        self._length = 0

    def add(self, values: Any, kind: str = "float32") -> dict[str, Any]:
        """Add an array, and return its place: its first byte, its type and its shape."""
        array = np.ascontiguousarray(np.asarray(values), dtype=TYPES[kind])
        place = {"at": self._length, "type": kind, "shape": list(array.shape)}
        content = array.tobytes()
        content += bytes(-len(content) % 4)  # every array begins at a multiple of 4 bytes
        self._parts.append(content)
        self._length += len(content)
        return place

    def weights(self, values: Any) -> dict[str, Any]:
        """Add weights of the decoder with the precision of the page."""
        return self.add(values, self.precision)

    def __len__(self) -> int:
        return self._length

    def text(self) -> str:
        """All bytes in base64."""
        return base64.b64encode(b"".join(self._parts)).decode()
