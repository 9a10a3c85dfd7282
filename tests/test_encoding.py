"""mlvae.encode: the codes of many observations, for every model and every kind of input."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from torch import nn

import mlvae
from mlvae import Batch, DiagonalGaussian, GroupedData, Groups, InputError, encode
from mlvae.data import StoredImages
from mlvae.evidence import ACCUMULATIONS
from mlvae.likelihoods import LearnedGaussian
from mlvae.models import traits
from mlvae.networks import MLP

LABELS = np.array([2, 0, 1, 0, 2, 1, 2, 2, 3, 0] * 5)
X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
QUIET = mlvae.Reports(progress=False, pictures_every=None)
CASES = {
    **{f"MLVAE {rule}": ("MLVAE", {"accumulation": rule}) for rule in ACCUMULATIONS},
    "MLVAE others": ("MLVAE", {"evidence_from": "others"}),
    "MLVAE style given content": ("MLVAE", {"style_given_content": True}),
    "MLVAE standardised": ("MLVAE", {"standardise": "feature"}),
    "VAE": ("VAE", {}),
    "AdaVAE": ("AdaVAE", {}),
    "ConditionalVAE": ("ConditionalVAE", {"group_names": range(4)}),
}
every_model = pytest.mark.parametrize(("name", "options"), CASES.values(), ids=CASES)


def built(name="MLVAE", options=(), shape=(6,)):
    torch.manual_seed(0)
    options = {"network": MLP((8,)), "likelihood": LearnedGaussian(), **dict(options)}
    model = mlvae.models.MODELS[name](shape, **options)
    model.standardise.measure([torch.from_numpy(X)])
    return model.eval()


def whole_codes(model, labels=LABELS, x=X):
    """The codes of one batch with all observations."""
    data = GroupedData(x, labels)
    if traits(model).group_names is not None:
        data = data.labelled(traits(model).group_names)
    return model.codes(data.batch())


@every_model
@pytest.mark.parametrize("batch_size", [1, 7, 4096])
def test_the_codes_are_those_of_one_batch_with_all_observations(name, options, batch_size):
    model = built(name, options)
    expected = whole_codes(model)
    encoded = encode(model, X, LABELS, batch_size=batch_size, variances=True)
    assert encoded.means.keys() == expected.keys()
    assert encoded.group_names == [0, 1, 2, 3] and encoded.index.tolist() == LABELS.tolist()
    assert encoded.variances is not None
    for code, q in expected.items():
        means, variances = encoded.means[code], encoded.variances[code]
        assert isinstance(means, np.ndarray) and len(means) == (4 if code == "content" else 50)
        rows = encoded.index if code == "content" else slice(None)
        close = {"rtol": 1e-5, "atol": 1e-6}
        np.testing.assert_allclose(means[rows], q.mean.detach(), **close)
        np.testing.assert_allclose(variances[rows], q.moments().variance.detach(), **close)


@every_model
def test_each_observation_is_a_group_of_its_own_without_groups(name, options):
    if name == "ConditionalVAE":
        with pytest.raises(InputError, match="ConditionalVAE needs groups"):
            encode(built(name, options), X)
        return
    encoded = encode(built(name, options), X)
    expected = whole_codes(built(name, options), np.arange(50))
    for code, q in expected.items():
        np.testing.assert_allclose(encoded.means[code], q.mean.detach(), rtol=1e-5, atol=1e-6)


@every_model
def test_the_same_input_has_the_same_codes_whatever_else_is_encoded(name, options):
    model = built(name, options)
    for dtype, bound in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
        model = model.to(dtype)
        alone = encode(model, X[LABELS == 2], LABELS[LABELS == 2])
        among = encode(model, X, LABELS, batch_size=13)
        order = np.random.default_rng(1).permutation(50)
        shuffled = encode(model, X[order], LABELS[order])
        for code, means in among.means.items():
            scale = np.abs(means).max()
            rows = [2] if code == "content" else LABELS == 2
            assert np.abs(alone.means[code] - means[rows]).max() <= bound * scale
            back = means if code == "content" else means[order]
            assert np.abs(shuffled.means[code] - back).max() <= bound * scale


def test_model_and_data_stay_as_they_are():
    model = built().train()
    data = GroupedData(X, LABELS)
    encoded = encode(model, data)
    assert model.training and data.x.is_leaf and not data.x.is_inference()
    assert isinstance(encoded.content, np.ndarray) and encoded.content.dtype == np.float32
    assert encode(built().double(), X).content.dtype == np.float64


def test_a_large_group_needs_the_memory_of_one_batch(monkeypatch):
    model, sizes = built(options={"style_given_content": True}), []
    inner = model.posteriors
    monkeypatch.setattr(model, "posteriors", lambda x: sizes.append(len(x)) or inner(x))
    encode(model, X, np.zeros(50, int), batch_size=8)
    assert max(sizes) == 8


INPUTS = {
    "array": lambda: X,
    "float64": lambda: X.astype(np.float64),
    "list": lambda: X.tolist(),
    "tensor": lambda: torch.from_numpy(X),
    "data": lambda: GroupedData(X, range(50)),
    "source": lambda: Source(),
    "frame": lambda: pd.DataFrame(X, columns=list("abcdef")),
}


class Source:
    """Observations that are read when they are needed."""

    shape, dtype = (50, 6), torch.float32

    def __len__(self):
        return 50

    def index_select(self, dim, indices, *, pin=False):
        return torch.from_numpy(X)[indices]

    def expect(self, indices):
        pass

    def to(self, device):
        return self


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
def test_inputs_of_every_kind_have_the_same_codes(make):
    model = built()
    expected = encode(model, X).content
    found = encode(model, make(), frame=False, batch_size=20).content
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_images_are_read_from_the_disk(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), dtype=np.uint8)
    images.tofile(tmp_path / "images.raw")
    model = built(shape=(1, 4, 4), options={"likelihood": mlvae.likelihoods.Bernoulli()})
    expected = model.infer_style(images).mean.detach()
    stored = StoredImages(tmp_path / "images.raw", images.shape)
    for x in (stored, images, images[:, 0], torch.from_numpy(images), images / np.float32(255)):
        found = encode(model, x, batch_size=7).style
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# Frames


def table(convert=lambda frame: frame):
    frame = pd.DataFrame(X, columns=list("abcdef"), index=[f"row{i}" for i in range(50)])
    frame["donor"] = np.array(["ann", "bob", "eve", "joe"])[LABELS]
    return convert(frame)


def test_a_frame_gives_frames_with_the_index_of_groups_and_rows():
    encoded = encode(built(), table(), groups="donor")
    assert encoded.content.index.tolist() == ["ann", "bob", "eve", "joe"]
    assert encoded.content.index.name == "donor"
    assert encoded.content.columns.tolist() == [f"content{i}" for i in range(10)]
    assert encoded.style.index.tolist() == table().index.tolist()
    by_row = encoded.content.loc[table()["donor"]]
    np.testing.assert_array_equal(by_row, encoded.content.to_numpy()[encoded.index])


def test_frames_of_polars_and_pyarrow_have_a_column_of_labels():
    for convert in (
        pl.from_pandas,
        lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    ):
        encoded = encode(built(), table(convert), groups="donor", variances=True)
        content, style = encoded.content, encoded.style
        assert type(content) is type(table(convert))
        names = content.columns if hasattr(content, "height") else content.column_names
        assert list(names)[:2] == ["donor", "content0"]
        assert np.asarray(style["row"]).tolist() == list(range(50))


def test_arrays_give_frames_if_asked():
    encoded = encode(built(), X, LABELS, frame=True, variances=True)
    assert encoded.content.index.tolist() == [0, 1, 2, 3]
    assert encoded.variances["style"].shape == (50, 10)
    assert isinstance(encode(built(), table(), "donor", frame=False).content, np.ndarray)


def test_a_new_frame_is_encoded_as_the_training_table(tmp_path):
    frame = table().assign(colour=pd.Categorical(["red", "blue"] * 25))
    data = GroupedData.from_frame(frame, "donor")
    model = built(shape=data.shape, options={"standardise": None})
    mlvae.train(model, data, run=tmp_path / "run", epochs=1, device="cpu", reports=QUIET)
    loaded = mlvae.load(tmp_path / "run")
    new = frame.iloc[[3, 1]][["colour", "donor", *"fedcba"]].assign(remark="text")
    found, expected = encode(loaded, new), encode(model, data)
    np.testing.assert_allclose(found.style, expected.style[[3, 1]], rtol=1e-5, atol=1e-6)
    assert found.content.index.tolist() == ["ann"] and found.content.index.name == "donor"
    with pytest.raises(InputError, match=r"column colour.*'pink'"):
        encode(loaded, new.assign(colour="pink"))


def test_groups_in_another_column_than_in_training_have_its_name():
    frame = table().assign(visit=list("ab") * 25)
    data = GroupedData.from_frame(frame, "donor", features=list("abcdef"))
    model = built()
    model.table_columns = data.columns
    for groups, name in ((None, "donor"), ("visit", "visit"), (list("ab") * 25, "group")):
        assert encode(model, frame, groups).content.index.name == name


# Models of a user's own


class Own(nn.Module):
    """The content is the mean of the members' points, and the style depends on it."""

    group_codes = frozenset({"who"})
    pooling = {"who": "mean"}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def codes(self, batch: Batch):
        each = self.layer(batch.x)
        who = batch.groups.spread(batch.groups.sum(each) / batch.groups.sizes[:, None])
        variance = torch.zeros_like(who)
        return {"who": DiagonalGaussian(who, variance), "style": DiagonalGaussian(each, variance)}

    def decode(self, who, style):
        return torch.cat((who, style, style), 1)


def test_codes_of_other_names_are_pooled_by_the_rule_that_the_model_states():
    model = Own()
    encoded = encode(model, X, LABELS, batch_size=8)
    expected = model.codes(GroupedData(X, LABELS).batch())["who"].mean.detach()
    np.testing.assert_allclose(encoded.who[encoded.index], expected, rtol=1e-5, atol=1e-6)


def test_a_model_that_states_another_rule_than_it_has_is_refused():
    model = Own()
    model.pooling = {"who": "prior_product"}
    with pytest.raises(InputError, match=r"who.*prior_product.*pooling"):
        encode(model, X, LABELS)


def test_a_style_given_the_content_of_a_group_is_right_without_posteriors(monkeypatch):
    model = built(options={"style_given_content": True})
    expected = encode(model, X, LABELS).style
    monkeypatch.setattr(type(model), "importance_weighted", False)
    found = encode(model, X, LABELS, batch_size=8).style
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# Arguments


def test_groups_may_be_a_record_of_groups():
    found = encode(built(), X, Groups.of(LABELS)).content
    np.testing.assert_allclose(found, encode(built(), X, LABELS).content)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode(nn.Linear(2, 2), X), "codes"),
        (lambda: encode(built(), 1.0), "x must be observations"),
        (lambda: encode(built(), X[:, :5]), r"\(6,\), not \(5,\)"),
        (lambda: encode(built(), X, LABELS[:3]), "group"),
        (lambda: encode(built(), GroupedData(X, LABELS), LABELS), "groups must be None"),
        (lambda: encode(built(), X, batch_size=0), "batch_size"),
        (lambda: encode(built(), X, variances=1), "variances"),
        (lambda: encode(built(), X, frame="pandas"), "frame"),
        (lambda: encode(built(), X, progress=None), "progress"),
        (lambda: encode(built(), np.full((3, 6), np.nan)), "NaN"),
        (lambda: encode(built(), table(), "doner"), "'doner'.*'donor'"),
        (lambda: encode(built(), table().drop(columns="a"), "donor"), r"\(6,\), not \(5,\)"),
        (
            lambda: encode(
                built(), pl.DataFrame(table().rename(columns={"donor": "content0"})), "content0"
            ),
            "'content0'.*rename",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_an_unknown_code_is_an_attribute_error():
    encoded = encode(built(), X)
    with pytest.raises(AttributeError, match="'latent' among content, style"):
        _ = encoded.latent
    for again in (copy.copy(encoded), pickle.loads(pickle.dumps(encoded)), replace(encoded)):
        np.testing.assert_array_equal(again.content, encoded.content)


def test_short_work_shows_no_bar(capsys):
    encode(built(), X)
    assert capsys.readouterr() == ("", "")
