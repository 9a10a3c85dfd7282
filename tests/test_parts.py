from dataclasses import dataclass

import pytest

from mlvae import Adam, InputError
from mlvae.data import BATCHINGS, Grouped, Shuffled
from mlvae.likelihoods import LIKELIHOODS, DiscretisedLogistic, LearnedGaussian
from mlvae.networks import MLP, Conv
from mlvae.parts import from_config, to_config


@pytest.mark.parametrize(
    "part",
    [
        MLP(hidden=(7, 3), shared=False),
        Conv(widths=(7, 3), blocks=2, dropout=0.1),
        LearnedGaussian(-3.0, 0.0, scope="channel"),
        DiscretisedLogistic(scope="scalar"),
        Grouped(groups=3),
        Adam(),
    ],
)
def test_a_part_is_the_same_after_a_round_trip_through_plain_values(part):
    config = to_config(part)
    assert config["name"] == type(part).__name__
    assert not any(isinstance(value, tuple) for value in config.values())
    assert from_config(config, (type(part),), "part") == part


def test_parts_may_hold_parts():
    @dataclass(frozen=True)
    class Outer:
        inner: MLP

    assert to_config(Outer(MLP()))["inner"]["hidden"] == [500]


@pytest.mark.parametrize(
    ("config", "choices", "message"),
    [
        ({"name": "Bernouli"}, LIKELIHOODS, "did you mean 'Bernoulli'"),
        ({}, LIKELIHOODS, "part.name must be one of Bernoulli, Gaussian, LearnedGaussian"),
        ({"name": "Shuffled", "batchsize": 3}, BATCHINGS, "did you mean 'batch_size'"),
        ({"name": "Shuffled", "batch_size": 0}, BATCHINGS, "at least 1, not 0"),
    ],
)
def test_what_no_part_is_described_by_is_refused(config, choices, message):
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
