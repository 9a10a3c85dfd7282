import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

import mlvae
from mlvae import Adam, GroupedData, InputError, Reports
from mlvae.costs import Separation
from mlvae.data import BATCHINGS, Grouped, GroupWarp, Shuffled
from mlvae.likelihoods import (
    LIKELIHOODS,
    DiscretisedLogistic,
    LearnedGaussian,
    Multinomial,
    NegativeBinomial,
)
from mlvae.models import MLVAE, MODELS, build
from mlvae.models.protocol import config_of, takes_options
from mlvae.networks import MLP, Conv, Conv1d, ConvMLP, TopicMLP
from mlvae.parts import from_config, plain, to_config


@pytest.mark.parametrize(
    "part",
    [
        MLP(hidden=(7, 3), shared=False),
        Conv(widths=(7, 3), blocks=2, dropout=0.1),
        LearnedGaussian(-3.0, 0.0, scope="channel"),
        DiscretisedLogistic(scope="scalar"),
        NegativeBinomial(link="exp", scope="scalar"),
        Multinomial(coefficient=True),
        Grouped(groups=3),
        Adam(),
    ],
)
def test_a_part_is_the_same_after_a_round_trip_through_plain_values(part):
    config = to_config(part)
    assert config["name"] == type(part).__name__
    assert not any(isinstance(value, tuple) for value in config.values())
    assert from_config(config, (type(part),), "part") == part


@dataclass(frozen=True)
class Nested:
    """A part with further parts as a field, in tuples and in dictionaries."""

    one: MLP | Conv = MLP()
    several: tuple[MLP | Conv, ...] = ()
    named: Mapping[str, MLP] = field(default_factory=dict)
    optional: tuple[Conv, ...] | None = None
    deep: Mapping[str, tuple[MLP, ...]] | None = None
    free: Mapping[str, object] = field(default_factory=dict)


NESTED = Nested(
    one=Conv(widths=(8, 9)),
    several=(MLP((3,)), Conv(widths=(4, 8)), MLP(())),
    named={"age": MLP((2,)), "sex": MLP((1, 1))},
    optional=(Conv(widths=(5,)),),
    deep={"a": (MLP((7,)), MLP((8,)))},
    free={"momentum": 0.9, "name": "any"},
)


def test_the_config_of_a_part_has_plain_values_at_any_depth(tmp_path):
    config = to_config(NESTED)
    assert config["several"][0] == to_config(MLP((3,)))
    assert config["named"]["sex"]["hidden"] == [1, 1]
    assert config["deep"]["a"][1]["name"] == "MLP"
    assert json.loads(json.dumps(config)) == config
    torch.save(config, tmp_path / "config.pt")
    assert torch.load(tmp_path / "config.pt", weights_only=True) == config


def test_parts_in_tuples_and_dictionaries_are_rebuilt():
    assert from_config(to_config(NESTED), (Nested,), "part") == NESTED
    assert from_config(to_config(Nested()), (Nested,), "part") == Nested()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("several", [{"name": "MPL"}], "several.*did you mean 'MLP'"),
        ("several", [{"name": "MLP", "hiden": [3]}], "several.*did you mean 'hidden'"),
        ("named", {"age": {"hiden": [3]}}, "named.age.*did you mean 'hidden'"),
    ],
)
def test_an_invalid_nested_part_is_refused_by_the_name_of_its_field(field, value, message):
    with pytest.raises(InputError, match=message):
        from_config({"name": "Nested", field: value}, (Nested,), "part")


@takes_options(Nested)
class Model(torch.nn.Module):
    """A model with nested parts among its options."""

    def __init__(self, shape, **options):
        super().__init__()
        self.shape, self.options = shape, Nested(**options)

    @property
    def config(self):
        return config_of(self, self.options)


def test_a_model_with_nested_parts_is_rebuilt_from_its_config(monkeypatch):
    monkeypatch.setitem(MODELS, "Model", Model)
    config = json.loads(json.dumps(Model((3,), **vars(NESTED)).config))
    again = build((3,), config)
    assert type(again) is Model and again.options == NESTED and again.config == config
    separation = Separation(swap=0.5, content_critic=2.0, width=7)
    model = MLVAE((3,), network=MLP((4,)), separation=separation)
    again = build((3,), json.loads(json.dumps(model.config)))
    assert again.options == model.options and again.options.separation == separation


@pytest.mark.parametrize(
    ("config", "choices", "message"),
    [
        ({"name": "Bernouli"}, LIKELIHOODS, "did you mean 'Bernoulli'"),
        ({}, LIKELIHOODS, "part.name .*Bernoulli, Gaussian, LearnedGaussian"),
        ({"name": "Shuffled", "batchsize": 3}, BATCHINGS, "did you mean 'batch_size'"),
        ({"name": "Shuffled", "batch_size": 0}, BATCHINGS, "batch_size .*1.*0"),
    ],
)
def test_an_invalid_config_of_a_part_is_refused(config, choices, message):
    before = dict(config)
    with pytest.raises(InputError, match=message):
        from_config(config, choices, "part")
    assert config == before


def test_a_missing_field_is_named():
    @dataclass(frozen=True)
    class Needs:
        value: int

    with pytest.raises(InputError, match="value"):
        from_config({"name": "Needs"}, (Needs,), "part")
    assert from_config({"name": "Shuffled"}, BATCHINGS, "part") == Shuffled()


def test_lists_become_tuples_and_numpy_numbers_become_python_numbers():
    part = MLP(hidden=[np.int64(7), 3])
    assert part == MLP(hidden=(7, 3)) and hash(part) == hash(MLP(hidden=(7, 3)))
    assert Conv(widths=[8, 9]) == Conv(widths=(8, 9))
    assert Adam(betas=[0.5, 0.9]) == Adam(betas=(0.5, 0.9))
    config = to_config(Adam(learning_rate=np.float32(0.5), warmup_steps=np.int64(3)))
    assert type(config["learning_rate"]) is float and type(config["warmup_steps"]) is int
    assert type(to_config(part)["hidden"][0]) is int


def test_plain_values_are_plain_at_any_depth():
    value = {"a": (np.float32(0.5), [np.int64(2), "x"]), "b": {"c": None, "d": np.True_}}
    assert plain(value) == {"a": [0.5, [2, "x"]], "b": {"c": None, "d": True}}
    assert type(plain(value)["b"]["d"]) is bool


@pytest.mark.parametrize("config", [None, "MLP", ["MLP"]])
def test_a_config_that_is_not_a_dictionary_is_refused(config):
    with pytest.raises(InputError, match=r"part .*name"):
        from_config(config, (MLP,), "part")
    with pytest.raises(InputError, match=r"model .*name"):
        build((2,), config)


@pytest.mark.parametrize(
    "make",
    [
        lambda flag: MLP(shared=flag),
        lambda flag: Conv(shared=flag),
        lambda flag: Conv1d(shared=flag),
        lambda flag: ConvMLP(shared=flag),
        lambda flag: TopicMLP(shared=flag),
        lambda flag: TopicMLP(softmax=flag),
        lambda flag: Shuffled(span_ranks=flag),
        lambda flag: GroupWarp(flip=flag),
        lambda flag: MLVAE((2,), style_given_content=flag),
    ],
)
@pytest.mark.parametrize("flag", ["no", "maybe", 1, None])
def test_a_flag_is_true_or_false_and_nothing_else(make, flag):
    make(True)
    with pytest.raises(InputError, match=re.escape(repr(flag))):
        make(flag)


def test_a_model_with_numpy_numbers_is_trained_and_loaded(tmp_path):
    data = GroupedData(np.random.default_rng(0).random((40, 6)), np.repeat([0, 1], 20))
    model = MLVAE(np.array(data.shape), content_dim=np.int64(2), content_kl_weight=np.float32(0.5))
    options = {"epochs": np.int64(2), "seed": np.int64(1), "optimizer": Adam(np.float64(1e-3))}
    mlvae.train(model, data, run=tmp_path, reports=Reports(progress=False), **options)
    back = mlvae.load(tmp_path)
    assert back.config == model.config
    torch.testing.assert_close(back.infer_content(data.x).mean, model.infer_content(data.x).mean)
