"""Tables whose cells are hidden on purpose: mechanisms, published masks, and what a model sees."""

import tarfile

import numpy as np
import pandas as pd
import pytest
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.commands import cli
from mlvae.commands.configs import CONFIGS
from mlvae.data import hivae, l1000, open_dataset, uci
from mlvae.data.tables.hidden import with_hidden
from mlvae.data.tables.mechanisms import MECHANISMS, cell_values, hidden

WINES = [[6.5 + row % 5, *range(row, row + 10), 4 + row % 3] for row in range(30)]


def lines(separator, rows=WINES):
    return "".join(separator.join(f"{cell:g}" for cell in row) + "\n" for row in rows)


def table(seed=0):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(40, 3)), columns=list("abc"))
    frame["d"] = random.choice(["up", "down", "left"], 40)
    return frame.mask(random.random(frame.shape) < 0.1)


def read(frame):
    kinds = {"a": "real", "b": "real", "c": "real", "d": "categorical"}
    return GroupedData.from_frame(frame, np.arange(len(frame)), kinds=kinds, missing="keep")


# Hidden cells


def test_hidden_cells_are_missing_and_their_values_are_kept():
    data, cells = read(table()), np.zeros((40, 4), bool)
    cells[::2, 0] = cells[1::3, 3] = True
    found = with_hidden(data, cells)
    assert found.hidden.cells.sum() == (cells & data.given["observed"].numpy()).sum() > 20
    assert not (found.given["observed"].numpy() & cells).any()
    assert (found.x[::2, 0] == 0).all() and (found.x[1::3, 3:] == 0).all()
    np.testing.assert_array_equal(found.hidden.x, data.x)
    some = found.subset([3, 1, 7])
    np.testing.assert_array_equal(some.hidden.x, data.x[[3, 1, 7]])
    np.testing.assert_array_equal(some.hidden.cells, found.hidden.cells[[3, 1, 7]])
    assert data.hidden is None and some.regrouped(["p", "p", "q"]).hidden is some.hidden


def test_values_of_hidden_cells_change_nothing_in_training_bit_for_bit(tmp_path):
    frame, cells = table(), np.zeros((40, 4), bool)
    cells[:20, 1] = cells[10:30, 3] = True
    other = frame.copy()
    other.iloc[:20, 1] = 1e6
    other.iloc[10:30, 3] = "left"
    other = other.where(frame.notna())
    weights = []
    for number, one in enumerate((frame, other)):
        data = with_hidden(read(one), cells)
        data = data.subset(data.given["observed"].any(1))
        torch.manual_seed(0)
        likelihood = mlvae.likelihoods.MixedColumns.of(data)
        network = mlvae.networks.MLP((8,))
        model = mlvae.models.VSAE(data.shape, likelihood=likelihood, network=network)
        quiet = mlvae.Reports(progress=False, advice=False, tensorboard=False, figures=False)
        run = tmp_path / str(number)
        mlvae.train(
            model, data, run=run, epochs=1, batching=mlvae.data.Shuffled(20), reports=quiet
        )
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_fraction_is_that_of_the_observed_cells_also_of_tables_with_missing_cells(mechanism):
    random = np.random.default_rng(0)
    observed = random.random((20_000, 2)) < 0.5
    observed[:, 1] |= observed[:, 0]  # the second column is there where the first one is
    features = np.where(observed, 10 + random.normal(size=observed.shape), 0)
    values = cell_values(features, [1, 1], observed)
    cells = hidden(values, observed, 0.2, mechanism, seed=1)
    shares = cells.sum(0) / observed.sum(0)
    np.testing.assert_allclose(shares[shares > 0], 0.2, atol=0.015)
    assert (shares > 0).sum() == (1 if mechanism == "mar" else 2)


# Published tables


def test_a_fraction_is_hidden_in_all_splits_with_a_seed():
    splits = uci(entry="wine", hidden=0.3, validation=30)
    shares = [data.hidden.cells.mean() for _, data in splits]
    assert len(shares) == 3 and shares == pytest.approx([0.3] * 3, abs=0.06)
    again, other = (uci(entry="wine", hidden=0.3, validation=30, seed=s) for s in (0, 1))
    np.testing.assert_array_equal(again.test.hidden.cells, splits.test.hidden.cells)
    assert (other.train.hidden.cells != splits.train.hidden.cells).any()
    large = uci(entry="breast_cancer", hidden=0.3, mechanism="mnar", test=0).train.hidden
    x, cells = large.x, large.cells
    assert x.shape == (569, 30) and x[:, 0][cells[:, 0]].mean() > x[:, 0][~cells[:, 0]].mean()


def test_the_mask_of_the_notebook_for_wine_is_that_of_its_seed():
    data = uci(entry="wine", hidden="published", test=0).train
    np.random.seed(42)
    mask = np.random.rand(178, 13) < 0.5
    np.testing.assert_array_equal(data.hidden.cells, mask[data.names])


def test_groups_are_the_classes_of_the_table():
    data = uci(entry="wine", grouped=True, test=0).train
    assert data.groups.sizes.tolist() == [59, 71, 48] and data.hidden is None
    assert bool(data.given["observed"].all())


@pytest.mark.parametrize("form", ["folder", "original", "archive"])
def test_red_wines_are_read_from_every_published_form(tmp_path, form):
    (tmp_path / "uci").mkdir()
    if form == "folder":
        (tmp_path / "winequality-red.csv").write_text(lines(" "))
    elif form == "original":
        names = ";".join([*(f'"{name}"' for name in "abcdefghijk"), '"quality"']) + "\n"
        (tmp_path / "uci" / "winequality-red.csv").write_text(names + lines(";"))
    else:
        (tmp_path / "winequality-red.csv").write_text(lines(","))
        with tarfile.open(tmp_path / "uci" / "raw.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "winequality-red.csv", "raw/red/winequality-red.csv")
        (tmp_path / "winequality-red.csv").unlink()
    data = uci(tmp_path, entry="red_wine", grouped=True, test=0).train
    np.testing.assert_allclose(data.x, np.array(WINES)[data.names, :11], rtol=1e-6)
    assert data.group_names == [4, 5, 6] and data.feature_names[0] == "fixed acidity"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"entry": "iris"}, r"dataset\.entry.*iris"),
        ({"entry": "mushroom"}, r"agaricus-lepiota\.data"),
        ({"entry": "red_wine"}, "12 values.*line 1.*3"),
        ({"entry": "white_wine"}, "must have numbers"),
        ({"hidden": 1.0}, r"dataset\.hidden"),
        ({"hidden": -0.1}, r"dataset\.hidden"),
        ({"hidden": "half"}, r"dataset\.hidden.*half"),
        ({"entry": "breast_cancer", "hidden": "published"}, r"dataset\.hidden.*breast_cancer"),
        ({"mechanism": "above"}, r"dataset\.mechanism.*above"),
        ({"grouped": "yes"}, r"dataset\.grouped"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, match):
    (tmp_path / "winequality-red.csv").write_text("1 2 3\n")
    (tmp_path / "winequality-white.csv").write_text("a b c d e f g h i j k l\n" * 2)
    with pytest.raises(InputError, match=match):
        uci(tmp_path, **options)


# HI-VAE


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data.csv").write_text("1.5,0,3\n2.5,1,4\n0.5,1,0\n4.5,0,2\n")
    (tmp_path / "data_types.csv").write_text("type,dim,nclass\npos,1,\ncat,2,2\ncount,1,\n")
    (tmp_path / "Missing20_2.csv").write_text("1,1\n4,3\n")
    return tmp_path


def test_a_table_of_hivae_has_its_kinds_and_its_hidden_cells(folder):
    data = hivae(folder, percent=20, mask=2).train
    kinds = [column.kind for column in data.columns.features]
    assert kinds == ["positive", "categorical", "count"] and data.shape == (4,)
    first, last = data.names.tolist().index(0), data.names.tolist().index(3)
    places = sorted(np.argwhere(data.hidden.cells).tolist())
    assert places == sorted([[first, 0], [last, 2]])
    assert data.hidden.x[first, 0] == 1.5 and data.x[first, 0] == 0 and data.hidden.x[last, 3] == 2
    assert hivae(folder / "data.csv").train.hidden is None


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, r"Missing20_2\.csv"),
        ("1,1\n5,1\n", r"rows from 1 to 4.*\[5, 1\]"),
        ("1,0\n", r"columns from 1 to 3"),
        ("1\n2\n", "two numbers"),
        ("", "two numbers"),
        ("a,b\n", "row,column"),
    ],
)
def test_files_of_hidden_cells_that_do_not_fit_are_refused(folder, text, match):
    path = folder / "Missing20_2.csv"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InputError, match=match):
        hivae(folder, percent=20, mask=2)


# The user's own copies


def test_the_published_files_have_the_published_masks(data_root):
    if not (data_root / "uci").exists() or not (data_root / "hivae_wine").exists():
        pytest.skip("needs uci and hivae_wine in MLVAE_DATA")
    white = uci(data_root, entry="white_wine", hidden="published", test=0).train
    assert white.hidden.cells.sum() == 10_610 and len(white) == 4_898
    seen, x, cells = white.given["observed"], white.hidden.x, white.hidden.cells
    assert bool(seen[:, 5:].all()) and (x[cells[:, 0], 0] > x[:, 0].mean()).all()
    mushroom = uci(data_root, entry="mushroom", hidden=0.5, grouped=True, test=0).train
    assert len(mushroom) == 8_124 and len(mushroom.columns.features) == 22
    assert mushroom.group_names == ["e", "p"]
    wine = open_dataset(name="hivae", root=data_root, percent=50, mask=3).train
    assert wine.hidden.cells.shape == (6_497, 13)
    assert wine.hidden.cells.mean() == pytest.approx(0.5, abs=0.01)


def test_genes_of_the_plate_are_those_with_the_largest_variance(data_root):
    if not (data_root / "l1000").exists():
        pytest.skip("needs l1000 in MLVAE_DATA")
    every, splits = l1000(data_root).train, l1000(data_root, test_dose=10, genes=50, hidden=0.5)
    assert splits.train.shape == (50,) and len(splits.train.columns.features) == 50
    left = set(every.feature_names) - set(splits.train.feature_names)
    rows = ~torch.isclose(every.factors["pert_dose"], torch.tensor(10.0))
    variance = dict(zip(every.feature_names, every.x[rows].var(0).tolist(), strict=True))
    least = min(variance[name] for name in splits.train.feature_names)
    assert max(variance[name] for name in left) <= least
    assert [part.hidden.cells.mean() for _, part in splits] == pytest.approx([0.5] * 2, abs=0.02)
    with pytest.raises(InputError, match=r"dataset\.genes.*978"):
        l1000(data_root, genes=979)


@pytest.mark.parametrize("name", ["uci", "hivae", "l1000"])
def test_the_configs_have_the_defaults_of_the_functions(name):
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = cli.dict_of(compose("train", [f"dataset={name}"]).dataset, resolve=True)
    function = {"uci": uci, "hivae": hivae, "l1000": l1000}[name]
    defaults = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in function.__kwdefaults__.items()
    }
    assert {key: config[key] for key in config if key not in ("name", "root")} == defaults
