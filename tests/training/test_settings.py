"""Records of options: ranges, names in messages, and the names of earlier versions."""

from dataclasses import fields

import pytest
import torch

import mlvae
from mlvae import InputError, Reports, Speed, Warmup
from mlvae.training.settings import RENAMED, renamed_options

RECORDS = {"speed": Speed, "reports": Reports, "warmup": Warmup}


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("speed", "precision", "half"),
        ("speed", "precision", None),
        ("speed", "cuda_graphs", "no"),
        ("speed", "steps_per_graph", 0),
        ("speed", "steps_per_graph", 2.5),
        ("speed", "compile", 1),
        ("reports", "log_every", 0),
        ("reports", "log_every", True),
        ("reports", "validate_every", 0.5),
        ("reports", "pictures_every", -1),
        ("reports", "checkpoint_seconds", -1),
        ("reports", "checkpoint_seconds", "often"),
        ("reports", "progress", None),
        ("warmup", "kl_steps", -1),
        ("warmup", "kl_steps", None),
        ("warmup", "content_first_steps", 1.5),
        ("warmup", "content_first_weight", -1),
        ("warmup", "entanglement_steps", -1),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_name_of_the_option(group, name, value):
    with pytest.raises(InputError, match=rf"^trainer\.{group}\.{name} .*{value!r}"):
        RECORDS[group](**{name: value})


def test_intervals_may_be_none():
    names = ("log_every", "validate_every", "pictures_every", "checkpoint_seconds")
    assert set(vars(Reports(**dict.fromkeys(names)))) == {
        *names,
        "progress",
        "advice",
        "tensorboard",
        "figures",
    }


def test_every_renamed_option_is_an_option_now():
    for old, new in RENAMED.items():
        group, name = new.split(".")
        assert name in {field.name for field in fields(RECORDS[group])}, old


def test_options_of_earlier_versions_get_their_present_names():
    old = {
        "epochs": 3,
        "patience": None,
        "kl_warmup_steps": 5,
        "content_first_steps": 6,
        "content_first_weight": 7.0,
        "precision": "bfloat16",
        "cuda_graphs": False,
        "steps_per_graph": 4,
        "compile": False,
        "log_every": 10,
        "validate_every": None,
        "pictures_every": 2,
        "checkpoint_seconds": 60.0,
    }
    assert renamed_options(old) == {
        "epochs": 3,
        "patience": None,
        "warmup": {"kl_steps": 5, "content_first_steps": 6, "content_first_weight": 7.0},
        "speed": {
            "precision": "bfloat16",
            "cuda_graphs": False,
            "steps_per_graph": 4,
            "compile": False,
        },
        "reports": {
            "log_every": 10,
            "validate_every": None,
            "pictures_every": 2,
            "checkpoint_seconds": 60.0,
        },
    }


def test_present_options_stay_and_some_of_both_versions_are_joined():
    present = {"epochs": 3, "speed": {"compile": True}, "reports": {"log_every": None}}
    assert renamed_options(present) == present
    mixed = renamed_options({**present, "precision": "tf32"})
    assert mixed["speed"] == {"compile": True, "precision": "tf32"}
    assert present["speed"] == {"compile": True}  # the argument does not change


def test_the_factors_of_a_warm_up_have_a_closed_form():
    assert Warmup().at(0, 5) == {}
    warmup = Warmup(kl_steps=4, content_first_steps=2, content_first_weight=5.0)
    values = [warmup.at(step, 5) for step in range(5)]
    assert [value["kl_scale"] for value in values] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [value["style_scale"] for value in values] == [5.0, 3.0, 1.0, 1.0, 1.0]
    late = [Warmup(information_after=0.5).at(step, 4) for step in range(4)]
    assert late == [{"information_scale": value} for value in (0.0, 0.0, 1.0, 1.0)]
    grown = [Warmup(entanglement_steps=2).at(step, 4) for step in range(3)]
    assert grown == [{"entanglement_scale": value} for value in (0.5, 1.0, 1.0)]


def test_a_model_without_the_factor_is_refused_by_the_name_of_the_option():
    scales = {"kl_scale": torch.ones(())}
    Warmup(kl_steps=3).check(mlvae.models.VAE((3,)), scales)
    with pytest.raises(InputError, match=r"trainer\.warmup\.content_first_steps .*style_scale"):
        Warmup(kl_steps=3, content_first_steps=3).check(mlvae.models.VAE((3,)), scales)
    with pytest.raises(InputError, match=r"trainer\.warmup\.information_after .*information_sc"):
        Warmup(information_after=0.3).check(mlvae.models.MLVAE((3,)), scales)
    with pytest.raises(InputError, match=r"trainer\.warmup\.entanglement_steps .*entanglement_s"):
        Warmup(entanglement_steps=3).check(mlvae.models.MLVAE((3,)), scales)
