"""Files of counts: svmlight text, and sparse matrices of SciPy.

Shapes: N documents, V words.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlvae.data.collections.members import first_line
from mlvae.data.collections.regular import open_regular
from mlvae.data.documents.vocabulary import read_lines
from mlvae.errors import InputError, shown

__all__ = ["SVMLIGHT", "Counts", "read_npz", "read_svmlight", "stacked"]

#: Largest number of a word from 0: columns are int32.
MOST = 2**31 - 2

#: Ends of the names of svmlight files; ``.gz`` may follow.
SVMLIGHT = (".svmlight", ".libsvm", ".svm", ".feat")


class Counts(NamedTuple):
    """Counts of words of documents.

    Attributes:
        matrix: sparse array of SciPy in CSR, (N, V).
        labels: the first value of each line of an svmlight file, N texts; None: no labels.
    """

    matrix: Any
    labels: list[str] | None


def read_svmlight(path: Path, words: int | None, first_index: int, what: str) -> Counts:
    """The documents of a text file: ``label number:count number:count`` a line, in any order.

    Args:
        path: the file, which may be compressed (``.gz``).
        words: V; None: the largest number of a word.
        first_index: number of the first word: 1, as in LIBSVM, or 0, as scikit-learn writes.
        what: the option that names the file, first word of a message.

    Raises:
        InputError: if a line is not as described, with its number.
    """
    labels, ends = [], array("q", [0])
    columns, values = array("q"), array("d")
    for number, line in enumerate(read_lines(path, what), 1):
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        label = fields.pop(0)
        if ":" in label:
            raise _wrong(path, what, number, f"begin with a label, not with {shown(label)}")
        start = len(columns)
        for field in fields:
            word, _, count = field.partition(":")
            try:
                columns.append(int(word) - first_index)
                values.append(float(count))
            except (ValueError, OverflowError) as error:
                wrong = f"have number:count, not {shown(field)}"
                raise _wrong(path, what, number, wrong) from error
        _check_columns(columns[start:], words, first_index, path, what, number)
        labels.append(label)
        ends.append(len(columns))
    if not labels:
        raise InputError(f"{what}={path} must have a document a line, but it is empty")
    return Counts(_csr(columns, values, ends, words), labels)


def read_npz(path: Path, words: int | None, what: str) -> Counts:
    """The matrix of a file that ``scipy.sparse.save_npz`` has written.

    Args:
        path: the file.
        words: V; None: as many as columns.
        what: the option that names the file, first word of a message.

    Raises:
        InputError: if it is another file, or the matrix has another number of columns.
    """
    import scipy.sparse  # takes a second to import

    try:
        with open_regular(path) as stream:
            matrix: Any = scipy.sparse.csr_array(scipy.sparse.load_npz(stream))
    except Exception as error:  # scipy, numpy and zipfile raise many types for a damaged file
        raise InputError(
            f"{what}={path} must be a file written by scipy.sparse.save_npz: {first_line(error)}"
        ) from error
    if words is not None and matrix.shape[1] != words:
        raise InputError(
            f"{what}={path} must have a column for each of the {words} words of "
            f"dataset.vocabulary, not {matrix.shape[1]}"
        )
    return Counts(matrix, None)


def stacked(parts: list[Any]) -> Any:
    """The rows of sparse matrices (N, V), one after the other; V is the largest of all."""
    import scipy.sparse

    width = max(part.shape[1] for part in parts)
    for part in parts:
        part.resize((part.shape[0], width))
    return scipy.sparse.csr_array(scipy.sparse.vstack(parts, format="csr"))


def _check_columns(
    columns: array, words: int | None, first_index: int, path: Path, what: str, number: int
) -> None:
    """Raise :class:`InputError` if a word of a line is out of range or occurs twice."""
    if not columns:
        return
    if min(columns) < 0:
        found = min(columns) + first_index
        raise _wrong(
            path,
            what,
            number,
            f"number the words from {first_index}, not from {found}; "
            f"set dataset.first_index={max(found, 0)}",
        )
    if max(columns) > MOST:
        found = max(columns) + first_index
        raise _wrong(path, what, number, f"number the words below {2**31}, not as {found}")
    if words is not None and max(columns) >= words:
        largest = max(columns) + first_index
        raise _wrong(
            path,
            what,
            number,
            f"have numbers of the {words} words of dataset.vocabulary, not {largest}",
        )
    if len(set(columns)) < len(columns):
        twice = next(word for word in columns if columns.count(word) > 1) + first_index
        raise _wrong(path, what, number, f"have each word once, not two of {twice}")


def _wrong(path: Path, what: str, number: int, expected: str) -> InputError:
    return InputError(f"{what}={path} must {expected} (line {number})")


def _csr(columns: array, values: array, ends: array, words: int | None) -> Any:
    import scipy.sparse

    indices = np.frombuffer(columns, dtype=np.int64) if columns else np.zeros(0, np.int64)
    data = np.frombuffer(values) if values else np.zeros(0)
    width = words or int(indices.max(initial=0)) + 1
    parts = data.astype(np.float32), indices.astype(np.int32), np.frombuffer(ends, dtype=np.int64)
    return scipy.sparse.csr_array(parts, shape=(len(ends) - 1, width))
