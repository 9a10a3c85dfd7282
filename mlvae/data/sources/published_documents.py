"""Published documents as counts of words: 20 Newsgroups, and BBC News."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlvae.arguments import as_path
from mlvae.data.published import file_of
from mlvae.data.sources.bag_of_words import bag_of_words
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import Splits

__all__ = ["bbc_news", "newsgroups"]


def newsgroups(root: str | Path = "data", *, validation: Held = 0, seed: int = 0) -> Splits:
    """20 Newsgroups with the vocabulary of 1,994 words that work on neural topic models uses.

    11,258 training and 7,487 test documents, the published parts by date (A. Srivastava, C.
    Sutton: Autoencoding Variational Inference for Topic Models. ICLR 2017, whose vocabulary it
    is). Each document is its own group: the labels of the file say nothing.

    Args:
        root: a folder with ``train.feat.gz``, ``test.feat.gz`` and ``vocab``, or the folder of
            its folder ``20news``.
        validation: number or fraction of the training documents for validation.
        seed: seed of the draw.

    Raises:
        InputError: if the files are not found.
    """
    path = file_of(as_path("dataset.root", root), ("train.feat.gz", "train.feat"), ("20news",))
    test = path.with_name(path.name.replace("train", "test")).name
    options = {"test_file": test, "vocabulary": "vocab", "validation": validation, "seed": seed}
    return bag_of_words(path, **options)


def bbc_news(
    root: str | Path = "data", *, unseen_groups: Sequence[object] = (), seed: int = 0
) -> Splits:
    """BBC News, grouped by class: 2,225 lemmatised documents, 2,949 words, 5 classes.

    D. Greene, P. Cunningham: Practical Solutions to the Problem of Diagonal Dominance in Kernel
    Document Clustering. ICML 2006; in the form and with the parts of OCTIS (1,556 training, 334
    validation and 335 test documents). The classes are business, entertainment, politics, sport
    and tech.

    Args:
        root: a folder with ``corpus.tsv.gz`` and ``vocabulary.txt``, or the folder of its folder
            ``bbc_news``.
        unseen_groups: classes to keep out of training, validation and test.
        seed: has no effect: the parts are published.

    Raises:
        InputError: if the files are not found, or a class is unknown.
    """
    path = file_of(as_path("dataset.root", root), ("corpus.tsv.gz", "corpus.tsv"), ("bbc_news",))
    return bag_of_words(
        path,
        vocabulary="vocabulary.txt",
        columns=["text", "part", "label"],
        group="label",
        split="part",
        unseen_groups=unseen_groups,
        seed=seed,
    )
