"""Texts: files of a folder, and their counts of words by scikit-learn.

Shapes: N documents, V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mlvae.data.collections.members import first_line, is_system_part, printable
from mlvae.data.documents.vocabulary import read_lines
from mlvae.errors import InputError, check_choice, check_integer, check_number

__all__ = ["Files", "Limits", "count_words", "read_folder"]

#: Names of lists of words that scikit-learn has.
STOP_WORDS = ("english",)


@dataclass(frozen=True)
class Limits:
    """Which words of texts are counted where no vocabulary is known.

    Args:
        min_documents: smallest number of documents that have a word.
        max_share: largest share of the documents that have a word.
        most_words: the most frequent words, so many of them; None: all.
        stop_words: "english": words such as "the" are left out; None: none.
    """

    min_documents: int = 1
    max_share: float = 1.0
    most_words: int | None = None
    stop_words: str | None = None

    def __post_init__(self) -> None:
        check_integer("dataset.min_documents", self.min_documents, minimum=1)
        check_number("dataset.max_share", self.max_share, minimum=0, maximum=1, exclusive=True)
        if self.most_words is not None:
            check_integer("dataset.most_words", self.most_words, minimum=1)
        if self.stop_words is not None:
            check_choice("dataset.stop_words", self.stop_words, STOP_WORDS)

    def check_unused(self, reason: str) -> None:
        """Raise :class:`InputError` with the ``reason`` unless all options have their defaults."""
        for name, value in vars(Limits()).items():
            if vars(self)[name] != value:
                raise InputError(
                    f"dataset.{name} must not be set, not {vars(self)[name]!r}: {reason}"
                )


class Files(NamedTuple):
    """The texts of a folder.

    Attributes:
        texts: content of each file.
        names: path of each file within the folder.
        folders: the folder of each file within the folder; "" for the folder itself.
    """

    texts: list[str]
    names: list[str]
    folders: list[str]


def read_folder(path: Path) -> Files:
    """The ``.txt`` files of a folder and of the folders in it, in sorted order.

    Raises:
        InputError: if there is none, or a file is no text in UTF-8.
    """
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() == ".txt"
        and file.is_file()
        and not any(map(is_system_part, file.relative_to(path).parts))
    )
    if not found:
        raise InputError(f"dataset.root={path} must have .txt files, but there is none")
    texts = ["\n".join(read_lines(file, "dataset.root")) for file in found]
    inside = [file.relative_to(path) for file in found]
    names = [printable(file.as_posix()) for file in inside]
    folders = ["" if len(file.parts) == 1 else file.parent.as_posix() for file in inside]
    return Files(texts, names, list(map(printable, folders)))


def count_words(
    texts: Sequence[str], vocabulary: list[str] | None, limits: Limits
) -> tuple[Any, list[str]]:
    """Counts of words (N, V), a sparse array of SciPy, and the V words.

    It is scikit-learn's ``CountVectorizer``: words in lower case, of at least two characters.

    Args:
        texts: the documents.
        vocabulary: the words; None: all that ``limits`` leave.
        limits: as above; with a vocabulary, its defaults.

    Raises:
        InputError: if no word is left, or texts cannot have a word of the vocabulary.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # takes a second to import

    if vocabulary is not None:
        limits.check_unused("dataset.vocabulary has the words")
        _check_countable(vocabulary)
        counter = CountVectorizer(vocabulary=vocabulary)
    else:
        counter = CountVectorizer(
            min_df=limits.min_documents,
            max_df=float(limits.max_share),
            max_features=limits.most_words,
            stop_words=limits.stop_words,
        )
    try:
        matrix = counter.fit_transform(texts)
    except ValueError as error:  # no word is left
        raise InputError(
            f"{len(texts)} documents must have words that "
            f"dataset.min_documents={limits.min_documents} and "
            f"dataset.max_share={limits.max_share} leave: {first_line(error)}"
        ) from error
    return matrix, counter.get_feature_names_out().tolist()


def _check_countable(vocabulary: list[str]) -> None:
    """Raise :class:`InputError` if no text can have one of the words."""
    from sklearn.feature_extraction.text import CountVectorizer

    analyse = CountVectorizer().build_analyzer()
    wrong = [word for word in vocabulary if analyse(word) != [word]]
    if wrong:
        raise InputError(
            "dataset.vocabulary must have single words in lower case, of at least two characters, "
            f"as texts are divided into these, not {wrong[0]!r} ({len(wrong)} of "
            f"{len(vocabulary)} words)"
        )
