"""The experiment of a training without experiment=, and the choices that it permits."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mlvae.commands.configs import CONFIGS, choices
from mlvae.commands.default_experiment import EXPERIMENTS, with_default_experiment
from mlvae.data import AUGMENTATIONS, BATCHINGS, Shuffled
from mlvae.models import MLVAE, build
from mlvae.networks import MLP
from mlvae.parts import from_config

#: Shapes of observations by experiment.
#: Choices for data of other kinds, or for other likelihoods: signals, text, tables, trajectories.
OF_OTHER_DATA = {
    "conv1d",
    "plain_conv",
    "topic_mlp",
    "mlvae_missing",
    "vsae",
    "dcevae",
    "rotations",
    "svqvae",
}

SHAPES = {"first": (1, 28, 28), "faces": (3, 32, 32)}


def composed(*arguments):
    """The configuration of a command line, with its default experiment."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS.absolute())):
        config = compose("train", ["run=run", *with_default_experiment(arguments)])
    return OmegaConf.to_container(config, resolve=True)


def test_every_default_experiment_exists_and_chooses_its_dataset():
    for dataset, experiment in EXPERIMENTS.items():
        arguments = [] if dataset is None else [f"dataset={dataset}"]
        arguments += ["dataset.root=people"] if dataset == "faces" else []
        chosen = "glyphs" if dataset is None else dataset
        assert experiment in choices("experiment")
        assert composed(*arguments)["dataset"]["name"] == chosen
        model = composed(*arguments)["model"]
        if dataset == "torus":
            assert model["name"] == "Rotations"
        else:
            assert model["evidence_from"] in ("fellow", "other_part")


@pytest.mark.parametrize(
    "arguments",
    [
        ["dataset=digits"],
        ["dataset=mnist", "trainer.epochs=3"],
        ["experiment=mnist_author"],
        ["experiment=yale_b", "dataset=faces", "dataset.root=people"],
        ["+experiment=mnist_plain"],
        ["-m", "dataset=digits,glyphs"],
        ["resume=runs/first", "trainer.epochs=3"],
    ],
)
def test_arguments_with_an_experiment_a_run_or_another_dataset_stay_as_they_are(arguments):
    assert with_default_experiment(arguments) == arguments


def test_a_named_null_is_the_configuration_without_an_experiment():
    config = composed("experiment=null", "dataset=faces", "dataset.root=people")
    assert with_default_experiment(["resume=null"]) == ["resume=null", "experiment=first"]
    assert config["dataset"]["name"] == "faces"
    assert config["model"]["network"]["name"] == "MLP" and config.get("augmentation") is None


def test_dataset_digits_is_the_published_objective_as_before():
    config = composed("dataset=digits")
    model = build((1, 8, 8), config["model"])
    assert model.options == MLVAE.Options(network=MLP()) == MLVAE((1, 8, 8)).options
    assert from_config(config["batching"], BATCHINGS, "batching") == Shuffled()


@pytest.mark.parametrize("experiment", SHAPES)
@pytest.mark.parametrize("group", ["model", "network", "likelihood", "batching"])
def test_another_file_replaces_any_part_of_a_default_experiment(experiment, group):
    arguments = {"first": [], "faces": ["dataset=faces", "dataset.root=people"]}[experiment]
    for choice in set(choices(group)) - OF_OTHER_DATA:
        config = composed(*arguments, f"{group}={choice}")
        model = build(SHAPES[experiment], config["model"], group_names=range(3))
        assert isinstance(model, torch.nn.Module)
        from_config(config["batching"], BATCHINGS, "batching")
        if config.get("augmentation") is not None:
            from_config(config["augmentation"], AUGMENTATIONS, "augmentation")
