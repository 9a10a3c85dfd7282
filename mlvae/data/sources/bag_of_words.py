"""Documents as counts of words: files of counts, tables and folders of texts.

Shapes: N documents, V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mlvae.arguments import as_path
from mlvae.data.documents.counts import SVMLIGHT, read_npz, read_svmlight, stacked
from mlvae.data.documents.texts import Limits, count_words, read_folder
from mlvae.data.documents.vocabulary import read_lines, read_vocabulary
from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.group_splits import WORDS, Held
from mlvae.data.splitting.shares import check_share, count_of
from mlvae.data.splitting.splits import SPLIT_BY, Splits, split_by
from mlvae.data.tables.files import TABLES, is_table, read_table
from mlvae.errors import (
    InputError,
    check_choice,
    check_integer,
    check_text,
    check_texts,
    shown,
)

__all__ = ["bag_of_words"]


def bag_of_words(
    root: str | Path,
    *,
    vocabulary: str | Path | None = None,
    first_index: int = 1,
    group: str | None = None,
    text: str = "text",
    columns: Sequence[str] | None = None,
    min_documents: int = 1,
    max_share: float = 1.0,
    most_words: int | None = None,
    stop_words: str | None = None,
    test_file: str | Path | None = None,
    split: str | None = None,
    validation: Held = 0.1,
    test: Held = 0.1,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """Documents as counts of words, which stay sparse: each batch makes its own rows dense.

    ``root`` is one of these:

    - a file of counts in the format of svmlight (``.svmlight``, ``.libsvm``, ``.svm`` or
      ``.feat``): ``label number:count number:count`` a line, words in any order;
    - a sparse matrix that ``scipy.sparse.save_npz`` has written (``.npz``);
    - a table with a column of texts (``.csv``, ``.tsv`` or ``.parquet``);
    - a folder of ``.txt`` files.

    Text files may be compressed (``.gz``). Texts are divided into words by scikit-learn's
    ``CountVectorizer``: lower case, words of at least two characters.

    Args:
        root: the file or the folder.
        vocabulary: file with one word a line; a relative path begins in the folder of the file
            ``root``, or in the folder ``root``. Its words are the columns of counts, and of texts
            the words that are counted. None: columns of counts have no names, and all words of
            texts are counted.
        first_index: number of the first word in an svmlight file: 1, or 0 as scikit-learn's
            ``dump_svmlight_file`` writes it.
        group: what the group of a document is. None: each document is its own group. "label": the
            first value of a line of an svmlight file. "folder": the folder of a file. Of a table,
            the name of a column. Otherwise a file with one label a line, of the documents of
            ``root`` and then those of ``test_file``.
        text: the column of texts of a table.
        columns: names of the columns of a table without a first line of names.
        min_documents: smallest number of documents that have a word, without a ``vocabulary``.
        max_share: largest share of the documents that have a word, likewise.
        most_words: number of words, the most frequent ones, likewise; None: all.
        stop_words: "english": scikit-learn's list of words such as "the" is left out; None: none.
        test_file: a second file of counts, whose documents are the test. ``validation`` is then
            a number or a fraction of the documents of ``root``.
        split: what is divided, "observations", "members" or "groups", as ``by`` in
            :func:`mlvae.data.split`; or a column of a table with the words train, validation (or
            val) and test. None: observations.
        validation: size of the validation part, if nothing else says, as in
            :func:`mlvae.data.split`.
        test: size of the test, likewise.
        within: with split="groups", fraction of the documents of each training group that
            ``Splits.test`` has.
        unseen_groups: labels of groups to keep out of training, validation and test.
        seed: seed of the split.

    Raises:
        InputError: if a file is not as described.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name, text in [("a", "cats and dogs"), ("b", "dogs"), ("c", "stars, a moon")]:
        ...         _ = Path(folder, f"{name}.txt").write_text(text)
        ...     splits = bag_of_words(folder, stop_words="english", validation=0, test=1)
        >>> splits.train, splits.train.feature_names
        (GroupedData(2 observations of shape (4,) in 2 groups), ['cats', 'dogs', 'moon', 'stars'])
    """
    check_integer("dataset.first_index", first_index, minimum=0)
    if first_index > 1:
        raise InputError(f"dataset.first_index must be 0 or 1, not {first_index}")
    if split is not None:
        check_text("dataset.split", split)
    limits = Limits(min_documents, max_share, most_words, stop_words)
    path = as_path("dataset.root", root)
    if not path.exists():
        raise InputError(
            f"dataset.root={path} must be a folder of .txt files, a table or a file of counts, "
            "but it does not exist"
        )
    base = path if path.is_dir() else path.parent
    known = None
    if vocabulary is not None:
        known = read_vocabulary(base / as_path("dataset.vocabulary", vocabulary))
    if path.is_dir() or is_table(path):
        if test_file is not None:
            raise InputError(
                "dataset.test_file is for files of counts; of a table set dataset.split to a "
                "column with the words train and test"
            )
        found = _texts(path, known, group, text, columns, split, limits)
    else:
        limits.check_unused("a file of counts has its words")
        if columns is not None:
            raise InputError("dataset.columns is for tables, not for a file of counts")
        found = _counts(path, base, known, first_index, group, test_file)
    _say_empty(found.matrix, path)
    index = np.arange(found.matrix.shape[0])
    data = GroupedData(
        found.matrix,
        index if found.labels is None else found.labels,
        names=found.names,
        feature_names=found.words,
        kind="array",
    )
    words = found.parts
    if found.tested:
        if split not in (None, "observations"):
            raise InputError(f"dataset.split must be null with dataset.test_file, not {split!r}")
        words = _drawn(len(index) - found.tested, found.tested, validation, seed)
    if words is not None:
        return _split_by_words(data, words, found.labels is not None, unseen_groups, split)
    return split_by(
        data,
        split or "observations",
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
    )


class _Found(NamedTuple):
    """What the files have: counts (N, V), and of each document its label, name and part."""

    matrix: Any
    words: list[str] | None
    labels: list | None = None
    names: list[str] | None = None
    parts: list | None = None
    tested: int = 0


def _texts(
    path: Path,
    known: list[str] | None,
    group: str | None,
    text: str,
    columns: Sequence[str] | None,
    split: str | None,
    limits: Limits,
) -> _Found:
    """The counts of texts of a folder or a table."""
    if path.is_dir():
        if columns is not None:
            raise InputError("dataset.columns is for tables, not for a folder of texts")
        files = read_folder(path)
        if group is not None:
            check_choice("dataset.group", group, ("folder",))
        matrix, words = count_words(files.texts, known, limits)
        return _Found(matrix, words, None if group is None else files.folders, files.names)
    if columns is not None:
        check_texts("dataset.columns", columns)
        if not columns:
            raise InputError("dataset.columns must have a name for each column, not be empty")
    check_text("dataset.text", text)
    table = read_table(path, None if columns is None else list(columns), texts=True)
    matrix, words = count_words(_column(table, text, "dataset.text"), known, limits)
    labels = None if group is None else _column(table, group, "dataset.group", texts=False)
    parts = None
    if split is not None and split not in SPLIT_BY:
        parts = _column(table, split, "dataset.split", texts=False)
    return _Found(matrix, words, labels, None, parts)


def _column(table: Any, name: str, option: str, *, texts: bool = True) -> list:
    """The values of a column of a table of pyarrow.

    Raises:
        InputError: if there is no such column, a value is missing, or one is no text.
    """
    check_choice(option, name, table.column_names)
    values = table[name].to_pylist()
    wrong = [n for n, value in enumerate(values) if not isinstance(value, str) and texts]
    missing = [n for n, value in enumerate(values) if value is None]
    if wrong or missing:
        row = (missing or wrong)[0]
        raise InputError(
            f"{option}={name} must be a column with a {'text' if texts else 'value'} in each row, "
            f"not {shown(values[row])} (row {row + 1}, {len(missing or wrong)} of {len(values)})"
        )
    return values


def _counts(
    path: Path,
    base: Path,
    known: list[str] | None,
    first_index: int,
    group: str | None,
    test_file: str | Path | None,
) -> _Found:
    """The counts of one file, or of a file and that of the test."""
    files = {"dataset.root": path}
    if test_file is not None:
        files["dataset.test_file"] = base / as_path("dataset.test_file", test_file)
    size = None if known is None else len(known)
    parts = [_read_counts(file, what, size, first_index) for what, file in files.items()]
    matrix = stacked([part.matrix for part in parts])
    number = matrix.shape[0]
    labels: list | None = None
    if group == "label":
        if any(part.labels is None for part in parts):
            raise InputError("dataset.group=label is for svmlight files, which have labels")
        labels = [label for part in parts for label in part.labels or ()]
    elif group is not None:
        check_text("dataset.group", group)
        labels = [line.strip() for line in read_lines(base / group, "dataset.group")]
        if len(labels) != number or "" in labels:
            raise InputError(
                f"dataset.group={base / group} must have a label a line for each of the {number} "
                f"documents, not {len(labels)} lines, {labels.count('')} of them empty"
            )
    tested = parts[1].matrix.shape[0] if len(parts) > 1 else 0
    return _Found(matrix, known, labels, None, None, tested)


def _read_counts(path: Path, what: str, words: int | None, first_index: int) -> Any:
    """One file of counts, by the end of its name."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(SVMLIGHT):
        return read_svmlight(path, words, first_index, what)
    if name.endswith(".npz"):
        return read_npz(path, words, what)
    kinds = ", ".join((*SVMLIGHT, ".npz", *TABLES))
    raise InputError(
        f"{what}={path} must be a folder of .txt files, or a file whose name ends with {kinds}"
    )


def _say_empty(matrix: Any, path: Path) -> None:
    """Print how many documents have no word."""
    empty = int((np.diff(matrix.indptr) == 0).sum())
    if empty:
        print(
            f"{path}: {empty} of {matrix.shape[0]} documents have no word of the vocabulary",
            flush=True,
        )


def _drawn(number: int, tested: int, validation: Held, seed: int) -> list[str]:
    """The part of each document: ``validation`` of the first ``number``, then the test."""
    check_integer("dataset.seed", seed, minimum=0)
    check_share("dataset.validation", validation, "documents")
    validated = count_of(validation, number)  # type: ignore[arg-type]
    if validated >= number:
        raise InputError(
            f"dataset.validation={validation} must leave at least one of {number} documents to "
            "train on"
        )
    parts = np.array(["train"] * number + ["test"] * tested, dtype=object)
    order = torch.randperm(number, generator=torch.Generator().manual_seed(int(seed)))
    parts[order[:validated].numpy()] = "validation"
    return parts.tolist()


def _split_by_words(
    data: GroupedData,
    words: Sequence[object],
    grouped: bool,
    unseen_groups: Sequence[object],
    column: str | None,
) -> Splits:
    """The parts that words name. Documents that are their own groups are not unseen groups."""
    what = "the documents" if column is None else f"dataset.split={column}"
    if grouped:
        return split_by(data, words, unseen_groups=unseen_groups, words=what)
    if len(unseen_groups):
        raise InputError("dataset.unseen_groups needs dataset.group: each document is its own")
    parts = split_by(data, words, words=what)  # checks the words
    numbers = np.array([WORDS[str(word)] for word in words])
    named = {"validation": 1, "test": 2}
    kept = {name: data.subset(numbers == n) for name, n in named.items() if (numbers == n).any()}
    return Splits(train=parts.train, **kept)
