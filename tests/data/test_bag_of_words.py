"""dataset=bag_of_words: files of counts, tables and folders of texts, as sparse counts."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from sklearn.datasets import dump_svmlight_file
from sklearn.feature_extraction.text import CountVectorizer

from mlvae import InputError
from mlvae.commands.configs import CONFIGS
from mlvae.data import SparseRows, bag_of_words, open_dataset

COUNTS = np.random.default_rng(0).poisson(0.7, (12, 5))
LABELS = np.arange(12) % 3
WORDS = ["alpha", "beta", "gamma", "delta", "omega"]
TEXTS = [
    "Cats and dogs.",
    "dogs dogs",
    "the moon, a star",
    "a star; the cats",
    "moon",
    "star dogs",
]
ALL = {"validation": 0, "test": 0}


def write_svmlight(path, counts=COUNTS, labels=LABELS, first=1):
    """Lines with the words in falling order, which scikit-learn does not read."""
    lines = []
    for label, row in zip(labels, counts, strict=True):
        pairs = [f"{word + first}:{count}" for word, count in enumerate(row) if count]
        lines.append(" ".join([str(label), *pairs[::-1]]))
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def dense(data):
    """The counts of a part, in the order of its rows: (N, V)."""
    return data.batch().x.numpy()


def rows_of(data):
    """The documents as sorted pairs of label and counts, because a split draws their order."""
    return sorted(zip(map(str, data.labels), map(tuple, dense(data)), strict=True))


EXPECTED = sorted(zip(map(str, LABELS), map(tuple, COUNTS.astype(float)), strict=True))


# Files of counts


@pytest.mark.parametrize("name", ["d.svmlight", "d.libsvm", "d.svm", "d.feat", "D.FEAT.gz"])
def test_svmlight_files_have_their_counts_in_any_order_of_words(tmp_path, name):
    splits = bag_of_words(write_svmlight(tmp_path / name), group="label", **ALL)
    assert isinstance(splits.train.x.source, SparseRows)
    assert rows_of(splits.train) == EXPECTED
    assert splits.train.feature_names is None


def test_a_file_of_scikit_learn_is_read_with_its_first_index(tmp_path):
    path = tmp_path / "d.svmlight"
    dump_svmlight_file(COUNTS, LABELS, str(path))
    assert rows_of(bag_of_words(path, group="label", first_index=0, **ALL).train) == EXPECTED
    with pytest.raises(InputError, match=r"first_index=0 \(line"):
        bag_of_words(path, **ALL)


def test_a_sparse_matrix_of_scipy_has_the_same_rows(tmp_path):
    scipy.sparse.save_npz(tmp_path / "d.npz", scipy.sparse.csc_matrix(COUNTS))
    (tmp_path / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    data = bag_of_words(tmp_path / "d.npz", group="labels.txt", **ALL).train
    assert rows_of(data) == EXPECTED


@pytest.mark.parametrize("first", [None, 0, 1])
def test_the_words_of_a_vocabulary_are_the_names_of_the_features(tmp_path, first):
    numbers = [""] * 5 if first is None else [f" {n}" for n in range(first, first + 5)]
    lines = [word + number for word, number in zip(WORDS, numbers, strict=True)]
    (tmp_path / "vocab").write_text("\n".join(lines))
    data = bag_of_words(write_svmlight(tmp_path / "d.feat"), vocabulary="vocab", **ALL).train
    assert data.feature_names == WORDS


def test_without_a_group_each_document_is_its_own(tmp_path):
    splits = bag_of_words(write_svmlight(tmp_path / "d.feat"), validation=2, test=3)
    assert [part.groups.num_groups for _, part in splits] == [7, 2, 3]
    assert splits.unseen is None


def test_the_documents_of_a_second_file_are_the_test(tmp_path):
    write_svmlight(tmp_path / "train.feat", COUNTS[:8, :4], LABELS[:8])
    write_svmlight(tmp_path / "test.feat", COUNTS[8:], LABELS[8:])
    for group in (None, "label"):
        splits = bag_of_words(
            tmp_path / "train.feat", group=group, test_file="test.feat", validation=3
        )
        np.testing.assert_array_equal(dense(splits.test), COUNTS[8:])
        assert [len(part) for _, part in splits] == [5, 3, 4]
        drawn = np.concatenate([dense(splits.train), dense(splits.validation)])
        assert sorted(map(tuple, drawn)) == sorted((*row[:4], 0) for row in COUNTS[:8].tolist())
    held = bag_of_words(
        tmp_path / "train.feat",
        group="label",
        test_file="test.feat",
        validation=0,
        unseen_groups=["2"],
    )
    assert set(held.train.group_names) == set(held.test.group_names) == {"0", "1"}
    assert len(held.unseen) == (LABELS == 2).sum()


def test_documents_without_words_are_kept_and_their_number_is_printed(tmp_path, capsys):
    counts = COUNTS.copy()
    counts[[3, 5]] = 0
    data = bag_of_words(write_svmlight(tmp_path / "d.feat", counts), **ALL).train
    assert len(data) == 12 and "2 of 12" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("0 1:2 1:3", r"two of 1 \(line 2\)"),
        ("0 1:2 9:1", r"9 \(line 2\)"),
        ("0 0:2", r"first_index=0 \(line 2\)"),
        ("1:2 2:1", r"'1:2' \(line 2\)"),
        ("0 1:two", r"'1:two' \(line 2\)"),
        ("0 word:1", r"'word:1' \(line 2\)"),
        ("0 3", r"'3' \(line 2\)"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(tmp_path, line, match):
    (tmp_path / "vocab").write_text("\n".join(WORDS))
    (tmp_path / "d.feat").write_text(f"0 1:1\n{line}\n")
    with pytest.raises(InputError, match=match) as error:
        bag_of_words(tmp_path / "d.feat", vocabulary="vocab")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("word", [2**31, 5_000_000_000, 10**20])
def test_a_number_of_a_word_beyond_int32_is_refused(tmp_path, word):
    (tmp_path / "d.feat").write_text(f"0 1:1\n0 {word}:2\n")
    with pytest.raises(InputError, match=rf"{word}.*\(line 2\)"):
        bag_of_words(tmp_path / "d.feat")


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["a", "b", "", "d", "e"], "line 3"),
        (["a", "b", "a", "d", "e"], "two of 'a'"),
        (["a", "b"], "2 words"),
        ([], "empty"),
    ],
)
def test_a_wrong_vocabulary_is_refused(tmp_path, lines, match):
    (tmp_path / "vocab").write_text("\n".join(lines))
    with pytest.raises(InputError, match=match):
        bag_of_words(write_svmlight(tmp_path / "d.feat"), vocabulary="vocab")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"first_index": 2}, "first_index .*2"),
        ({"columns": ["a"]}, "columns"),
        ({"min_documents": 3}, "min_documents .*3"),
        ({"stop_words": "english"}, "stop_words .*'english'"),
        ({"stop_words": "klingon"}, "stop_words .*'klingon'"),
        ({"max_share": 0}, "max_share .*0"),
        ({"most_words": 0}, "most_words .*0"),
        ({"group": "few.txt"}, "12 documents, not 2"),
        ({"group": "missing.txt"}, "missing.txt"),
        ({"vocabulary": "missing.txt"}, "vocabulary.*missing.txt"),
        ({"test_file": "d.feat", "split": "groups"}, "split .*'groups'"),
        ({"test_file": "d.feat", "validation": 12}, "validation=12"),
        ({"test_file": "other.zip"}, r"test_file.*other.zip .*\.npz"),
        ({"unseen_groups": ["3"], "test_file": "d.feat"}, "unseen_groups"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, match):
    (tmp_path / "few.txt").write_text("a\nb\n")
    (tmp_path / "other.zip").write_text("")
    with pytest.raises(InputError, match=match) as error:
        bag_of_words(write_svmlight(tmp_path / "d.feat"), **options)
    assert "\n" not in str(error.value)


def test_damaged_files_are_refused_in_one_line(tmp_path):
    for name, content in [
        ("d.npz", b"nothing"),
        ("d.feat.gz", b"nothing"),
        ("d.feat", b"\xff\xfe"),
        ("empty.feat", b""),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=re.escape(name)) as error:
            bag_of_words(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"root.*nothing"):
        bag_of_words(tmp_path / "nothing.feat")


# Texts


def write_folder(root):
    for number, text in enumerate(TEXTS):
        path = root / "ab"[number % 2] / f"{number}.txt"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.txt").write_text("hidden")
    return root


def test_a_folder_of_texts_has_the_counts_of_scikit_learn(tmp_path):
    data = bag_of_words(write_folder(tmp_path / "texts"), group="folder", **ALL).train
    order = [0, 2, 4, 1, 3, 5]  # by folder
    expected = CountVectorizer().fit([TEXTS[n] for n in order])
    assert data.feature_names == expected.get_feature_names_out().tolist()
    found = zip(data.names, data.labels, dense(data), strict=True)
    for (name, label, row), number in zip(sorted(found, key=lambda f: f[0]), order, strict=True):
        assert name == f"{label}/{number}.txt"
        np.testing.assert_array_equal(row, expected.transform([TEXTS[number]]).toarray()[0])


def test_the_words_of_texts_can_be_limited(tmp_path):
    root = write_folder(tmp_path / "texts")
    for options, words in [
        ({"stop_words": "english", "min_documents": 2}, ["cats", "dogs", "moon", "star"]),
        ({"most_words": 2}, ["dogs", "star"]),
        ({"max_share": 0.34, "min_documents": 2}, ["cats", "moon", "the"]),
    ]:
        assert bag_of_words(root, **options, **ALL).train.feature_names == words
    (root / "vocab").write_text("star\ncats")
    assert dense(bag_of_words(root, vocabulary="vocab", **ALL).train).sum(0).tolist() == [3, 2]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.tsv.gz", "t.parquet"])
def test_a_table_of_texts_has_its_groups_and_its_parts(tmp_path, name):
    part = ["train"] * 3 + ["val", "test", "test"]
    columns = {"text": TEXTS, "kind": list("xyxyxz"), "part": part}
    frame, path = pd.DataFrame(columns), tmp_path / name
    if name.endswith("parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    splits = bag_of_words(path, group="kind", split="part")
    assert [len(data) for _, data in splits] == [3, 1, 1, 1]
    assert splits.unseen.group_names == ["z"]
    ungrouped = bag_of_words(path, split="part")
    assert [len(data) for _, data in ungrouped] == [3, 1, 2] and ungrouped.unseen is None
    whole = CountVectorizer().fit_transform(TEXTS).toarray()
    np.testing.assert_array_equal(dense(ungrouped.test), whole[4:])


def test_a_table_without_names_takes_them_from_the_option(tmp_path):
    lines = [f"{text}\t{n % 2}" for n, text in enumerate(TEXTS)]
    (tmp_path / "t.tsv").write_text("\n".join(lines))
    data = bag_of_words(tmp_path / "t.tsv", columns=["text", "n"], group="n", **ALL).train
    assert len(data) == 6 and data.group_names == [0, 1]


def test_a_text_may_have_several_lines(tmp_path):
    (tmp_path / "t.csv").write_text('text,n\n"one\ntwo",1\nthree,2\n')
    data = bag_of_words(tmp_path / "t.csv", **ALL).train
    assert data.feature_names == ["one", "three", "two"] and len(data) == 2


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"text": "txt"}, "text .*'txt'"),
        ({"text": "n"}, "text=n .*1"),
        ({"group": "kind"}, "group .*'kind'"),
        ({"split": "text"}, "split=text .*'one two'"),
        ({"group": "some"}, r"group=some .*None .*row 2"),
        ({"min_documents": 9}, "min_documents=9"),
        ({"test_file": "t.csv"}, "split"),
        ({"vocabulary": "vocab"}, "'New York'"),
    ],
)
def test_wrong_options_of_a_table_are_refused(tmp_path, options, match):
    (tmp_path / "t.csv").write_text("text,n,some\none two,1,5\ntwo,2,\n")
    (tmp_path / "vocab").write_text("one\nNew York\n")
    with pytest.raises(InputError, match=match) as error:
        bag_of_words(tmp_path / "t.csv", **options)
    assert "\n" not in str(error.value)


def test_a_folder_without_texts_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.txt"):
        bag_of_words(tmp_path)
    with pytest.raises(InputError, match=r"group .*'label'"):
        bag_of_words(write_folder(tmp_path / "texts"), group="label")


# Published sets


def composed(*overrides):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        dataset = compose("train", [*overrides])["dataset"]
    return OmegaConf.to_container(dataset, resolve=True)


@pytest.fixture
def published(monkeypatch):
    root = os.environ.get("MLVAE_DATA", "")
    if not Path(root, "20news").is_dir():
        pytest.skip("needs 20news and bbc_news in MLVAE_DATA")
    return root


def test_20_newsgroups_has_its_published_documents_and_words(published):
    splits = open_dataset(**composed("dataset=newsgroups"))
    assert (len(splits.train), len(splits.test)) == (11_258, 7_487)
    assert splits.train.shape == (1_994,) and splits.train.feature_names[:2] == ["write", "one"]
    tokens = [int(part.x.source.matrix[part.x.rows.numpy()].sum()) for _, part in splits]
    assert tokens == [991_493, 629_312]


def test_bbc_news_has_its_published_parts_and_classes(published):
    splits = open_dataset(**composed("dataset=bbc_news"))
    assert [len(part) for _, part in splits] == [1_556, 334, 335]
    assert splits.train.shape == (2_949,) and splits.unseen is None
    assert splits.test.group_names == ["business", "entertainment", "politics", "sport", "tech"]
    assert int(splits.train.x.source.matrix.sum()) == 267_259  # every word is in the vocabulary


# Memory

#: Reads a file of counts, trains some steps, and prints how the largest memory grew, in MB.
PROGRAM = """
import re, sys
import mlvae
from mlvae.training import checkpoint, loop, monitor
import scipy.sparse

def largest():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024

class Enough(Exception):
    pass

def stop(step, values):
    raise Enough

before = largest()
splits = mlvae.data.bag_of_words(sys.argv[1], validation=0.02, test=0.02)
likelihood, network = mlvae.likelihoods.Multinomial(), mlvae.networks.MLP(hidden=(32,))
model = mlvae.models.VAE(splits.train.shape, likelihood=likelihood, network=network)
reports = mlvae.Reports(progress=False, log_every=4)
try:
    mlvae.train(model, splits.train, run=sys.argv[2], epochs=1, reports=reports, on_report=stop)
except Enough:
    print(splits.train.shape[0], largest() - before)
"""


@pytest.mark.no_cover
@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status is of Linux")
def test_counts_stay_sparse_from_the_file_to_the_batch(tmp_path):
    # Dense, 40,000 x 10,000 float32 are 1,600 MB. Starting Python and PyTorch takes most seconds.
    random = np.random.default_rng(0)
    lines = [
        " ".join(["0", *(f"{word}:2" for word in np.unique(random.integers(1, 10_001, 30)))])
        for _ in range(40_000)
    ]
    (tmp_path / "d.svmlight").write_text("\n".join(lines))
    arguments = [
        sys.executable,
        "-c",
        PROGRAM,
        str(tmp_path / "d.svmlight"),
        str(tmp_path / "run"),
    ]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    words, grown = map(float, output.split())
    assert words == 10_000 and 0 < grown < 400
