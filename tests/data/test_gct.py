"""GCT files, and the plate of LINCS L1000."""

import gzip

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from mlvae import InputError
from mlvae.commands import cli
from mlvae.commands.configs import CONFIGS
from mlvae.data import gct, l1000, open_dataset, read_gct
from mlvae.data.sources.gct import robust_scores

GENES, WELLS = ["g1", "g2", "g3"], ["A01", "A02", "A03", "A04", "A05", "A06"]
X = np.arange(18, dtype=np.float32).reshape(6, 3) ** 1.5
FIELDS = {
    "drug": ["DMSO", "DMSO", "a", "a", "b", "b"],
    "dose": ["-666", "-666", "1", "10", "1", "10"],
}


def lines(version="#1.3", x=X):
    """The lines of a file; the matrix is transposed."""
    if version == "#1.2":
        head = [f"{len(GENES)}\t{len(WELLS)}", "\t".join(["Name", "Description", *WELLS])]
        fields = []
    else:
        head = [f"{len(GENES)}\t{len(WELLS)}\t1\t2", "\t".join(["id", "symbol", *WELLS])]
        fields = ["\t".join([name, "na", *values]) for name, values in FIELDS.items()]
    rows = [
        "\t".join([gene, gene.upper(), *(f"{value}" for value in x[:, i])])
        for i, gene in enumerate(GENES)
    ]
    return [version, *head, *fields, *rows]


def written(path, content):
    text = "\n".join(content) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["p.gct", "p.gct.gz", "P.GCT"])
@pytest.mark.parametrize("version", ["#1.2", "#1.3"])
def test_a_file_has_its_matrix_and_the_texts_about_it(tmp_path, version, name):
    plate = read_gct(written(tmp_path / name, lines(version)))
    np.testing.assert_array_equal(plate.x, X)
    assert plate.x.dtype == np.float32
    assert plate.names.tolist() == WELLS and plate.features == GENES
    about = "Description" if version == "#1.2" else "symbol"
    assert {n: v.tolist() for n, v in plate.feature_fields.items()} == {about: ["G1", "G2", "G3"]}
    expected = {} if version == "#1.2" else FIELDS
    assert {name: values.tolist() for name, values in plate.fields.items()} == expected


def test_lines_of_other_systems_end_a_cell(tmp_path):
    (tmp_path / "p.gct").write_bytes("\r\n".join(lines()).encode())
    np.testing.assert_array_equal(read_gct(tmp_path / "p.gct").x, X)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: ["#1.4", *c[1:]], r"#1\.2 or #1\.3.*#1\.4"),
        (lambda c: ["id,a", *c[1:]], r"#1\.3.*id,a"),
        (lambda c: [c[0], "3\tx\t1\t2", *c[2:]], r"second line.*3 x 1 2"),
        (lambda c: [c[0], "3\t6", *c[2:]], r"second line, 4 numbers"),
        (lambda c: [c[0], "0\t6\t1\t2", *c[2:]], r"second line"),
        (lambda c: [c[0], "99999999\t99999999\t1\t2", *c[2:]], r"at most 4,294,967,296"),
        (lambda c: c[:-1], r"ends after line 7"),
        (lambda c: [*c[:-1], "g3\tG3\t1\t2"], r"8 cells in row 3, not 4"),
        (lambda c: [*c[:2], "id\tA01", *c[3:]], r"8 cells in the header, not 2"),
        (lambda c: [*c[:-1], "g3\tG3\t1\t2\t3\t\t5\tNA"], r"row 'g3', column 'A04' has ''.*\(2 "),
        (lambda c: [*c[:-1], "g3\tG3\t1\tnan\t3\t4\t5\t6"], r"column 'A02' has 'nan'"),
        (lambda c: [*c[:-1], "g3\tG3\t1\t1e60\t3\t4\t5\t6"], r"column 'A02' has '1e60'"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, change, words):
    with pytest.raises(InputError, match=words) as error:
        read_gct(written(tmp_path / "p.gct", change(lines())))
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    for content in (b"\x1f\x8b\x08\x00", b"no gzip", gzip.compress(b"#1.3\n" * 99)[:-9]):
        (tmp_path / "p.gct.gz").write_bytes(content)
        with pytest.raises(InputError, match=r"p\.gct\.gz"):
            read_gct(tmp_path / "p.gct.gz")
    (tmp_path / "p.gct").write_bytes(b"#1.3\n\xff\xfe")
    for name in ("p.gct", "missing.gct", "."):
        with pytest.raises(InputError, match="GCT file"):
            read_gct(tmp_path / name)


# The dataset


def test_columns_of_a_file_are_observations(tmp_path, capsys):
    path = written(tmp_path / "p.gct", lines())
    splits = gct(path, group="drug", factors=["dose"], split="members", validation=0, test=0)
    data = splits.train
    assert data.labels.tolist() == FIELDS["drug"] and data.names.tolist() == WELLS
    np.testing.assert_array_equal(data.x, X)
    assert data.feature_names == GENES and splits.test is None
    assert data.factors["dose"].isnan().tolist() == [True, True, *[False] * 4]
    assert capsys.readouterr().out == ""


def test_scores_are_relative_to_the_control_whose_wells_are_left_out(tmp_path, capsys):
    path = written(tmp_path / "p.gct.gz", lines())
    options = {"group": "drug", "control": {"drug": ["DMSO"]}, "features": "symbol"}
    data = gct(path, **options, validation=0, test={"dose": ["10"]}, clip=8)
    centre = np.median(X[:2], 0)
    scale = 1.4826 * np.median(np.abs(X[:2] - centre), 0) + 0.1
    expected = np.clip((X[2:] - centre) / scale, -8, 8)
    np.testing.assert_allclose(data.train.x, expected[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(data.test.x, expected[[1, 3]], rtol=1e-6)
    assert (np.abs(expected) == 8).any()
    assert data.train.group_names == ["a", "b"] and data.train.feature_names == ["G1", "G2", "G3"]
    assert "2 columns with drug=['DMSO']" in capsys.readouterr().out


def test_scores_of_normal_values_have_the_deviation_1():
    x = np.random.default_rng(0).normal(5, 3, (20_000, 2))
    scores = robust_scores(x, x, floor=0.0, clip=None)
    np.testing.assert_allclose(scores.std(0), 1, rtol=0.03)
    np.testing.assert_allclose(np.median(scores, 0), 0, atol=1e-6)
    with pytest.raises(InputError, match=r"dataset\.floor.*1 features"):
        robust_scores(np.ones((3, 1)), np.ones((4, 1)), floor=0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": "drugs"}, "dataset.group.*drug"),
        ({"factors": ["well"]}, "dataset.factors.*dose"),
        ({"features": "title"}, "dataset.features.*symbol"),
        ({"control": {"drug": ["X"]}}, "dataset.control.*'X'"),
        ({"control": {"drug": ["DMSO", "a", "b"]}}, "dataset.control"),
        ({"control": "DMSO"}, "dataset.control.*'DMSO'"),
        ({"floor": -1}, "dataset.floor"),
        ({"clip": 0}, "dataset.clip"),
        ({"test": {"dose": ["3"]}}, "dataset.test.*'3'"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, options, words):
    path = written(tmp_path / "p.gct", lines())
    with pytest.raises(InputError, match=words):
        gct(path, **{"group": "drug", **options})


def test_names_of_features_must_differ(tmp_path):
    path = written(tmp_path / "p.gct", [line.replace("G2", "G1") for line in lines()])
    with pytest.raises(InputError, match=r"dataset\.features=symbol"):
        gct(path, group="drug", features="symbol")


def test_words_of_a_factor_are_numbered(tmp_path, capsys):
    path = written(tmp_path / "p.gct", lines())
    data = gct(path, group="dose", factors=["drug"], split="members", validation=0, test=0)
    assert data.train.factors["drug"].tolist() == [0, 0, 1, 1, 2, 2]
    assert "factor drug: 0 DMSO, 1 a, 2 b" in capsys.readouterr().out


def test_the_config_of_a_plate_opens_it(tmp_path):
    path = written(tmp_path / "p.gct", lines())
    overrides = ["dataset=gct", f"dataset.root={path}", "dataset.group=drug"]
    more = ["dataset.control={drug: DMSO}", "dataset.test={dose: [10]}", "dataset.validation=0"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [*overrides, *more]).dataset
    splits = open_dataset(**cli.dict_of(config))
    assert [len(part) for _, part in splits] == [2, 2]


# The plate


def test_the_plate_has_the_published_counts_and_the_measured_variances(data_root):
    splits = l1000(data_root, test_dose=10)
    assert splits.train.shape == (978,) and len(splits.train.group_names) == 59
    assert len(splits.train) == 293 and len(splits.test) == 58
    assert splits.test.factors["pert_dose"].unique().tolist() == [10]
    data = l1000(data_root).train
    x, groups = data.x, data.groups
    assert len(data) == 351 and x.abs().max() == 10
    assert x.var(0, correction=0).mean().item() == pytest.approx(5.073, abs=1e-3)
    means = groups.sum(x) / groups.sizes[:, None]
    within = (x - groups.spread(means)).square().mean()
    assert within.item() == pytest.approx(3.258, abs=1e-3)
    with pytest.raises(InputError, match=r"dataset\.test"):
        l1000(data_root, test_dose=2)


def test_the_nearest_mean_of_the_plate_has_the_measured_accuracy(data_root):
    """Each dose is left out once: the control of the table of results."""
    data, right = l1000(data_root).train, []
    for dose in (0.04, 0.12, 0.37, 1.11, 3.33, 10):
        held = torch.isclose(data.factors["pert_dose"], torch.tensor(float(dose)))
        train, test = data.subset(~held), data.subset(held).labelled(data.group_names)
        means = train.groups.sum(train.x) / train.groups.sizes[:, None]
        right.append(torch.cdist(test.x, means).argmin(1) == test.given["label"])
    assert torch.cat(right).double().mean().item() == pytest.approx(0.308, abs=1e-3)


def test_a_missing_plate_is_refused(tmp_path):
    with pytest.raises(InputError, match="GCT file"):
        l1000(tmp_path)
