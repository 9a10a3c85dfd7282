"""Every config composes and builds, and unknown options are refused."""

from pathlib import Path

import pandas
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from mlvae import Adam, GroupedData
from mlvae.data import BATCHINGS, Shuffled, mnist, open_dataset
from mlvae.evaluation import QUESTIONS
from mlvae.likelihoods import (
    DiscretisedLogistic,
    LearnedGaussian,
    Multinomial,
    NegativeBinomial,
    Poisson,
)
from mlvae.models import MLVAE, build
from mlvae.networks import MLP, Conv, Conv1d
from mlvae.parts import from_config, to_config
from mlvae.training import OPTIMIZERS, train

CONFIGS = Path(__file__).parent.parent / "configs"
CHOICES = sorted(
    (path.parent.name, path.stem)
    for path in CONFIGS.glob("*/*.yaml")
    if path.parent.name not in ("experiment", "evaluation", "tables")
)
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
#: Experiments that separation=information is added to.
MLVAES = (
    *("faces", "first", "fsdd", "fsdd_digit", "lfw", "mnist", "mnist_author", "mnist_best"),
    *("mnist_plain", "omniglot", "yale_b"),
)


def composed(*overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS.absolute())):
        config = compose("train", ["run=run", *overrides])
    if OmegaConf.is_missing(config.dataset, "root"):
        config.dataset.root = "file.npz"
    return OmegaConf.to_container(config, resolve=True)


def table():
    """Rows of a table, for models and likelihoods of tables."""
    frame = pandas.DataFrame(
        {
            **{name: [True, False, True] for name in ("a", "sex", "black")},
            **dict.fromkeys(("y", "d1", "d2", "r", "LSAT", "UGPA", "ZFYA", "income"), 1.0),
            **dict.fromkeys(("marital", "education", "occupation"), 1.0),
            **dict.fromkeys(("hours", "workclass", "relationship"), 1.0),
        }
    )
    return GroupedData.from_frame(frame, range(3))


def built(config):
    if config["model"]["name"] in ("VSAE", "DCEVAE") or config["model"].get("cells"):
        config["model"]["likelihood"] = {"name": "MixedColumns"}
    data = table() if config["model"]["likelihood"]["name"] == "MixedColumns" else None
    if config["dataset"]["name"] == "digit_parts":  # its attributes have a number of columns
        data = open_dataset(**config["dataset"]).train
    shape = (3, 128) if config["model"]["network"]["name"] == "Conv1d" else (1, 28, 28)
    shape = shape if data is None else data.shape
    if config["model"]["name"] == "Rotations":
        shape = (4, *shape)  # frames
    model = build(shape, config["model"], group_names=range(10), data=data)
    batching = from_config(config["batching"], BATCHINGS, "batching")
    return model, batching, from_config(config["optimizer"], OPTIMIZERS, "optimizer")


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_builds(group, choice):
    built(composed(f"{group}={choice}"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_builds(experiment):
    built(composed(f"experiment={experiment}"))


@pytest.mark.parametrize("experiment", MLVAES)
def test_separation_by_information_is_added_to_an_experiment(experiment):
    plain = composed(f"experiment={experiment}")
    config = composed(f"experiment={experiment}", "separation=information")
    model, _, optimizer = built(config)
    assert model.options.separation.information == 28 and model.options.style_given_content
    assert optimizer.learning_rates["style_encoder"] < optimizer.learning_rate
    assert config["trainer"]["warmup"]["information_after"] == 0.3
    for name in ("dataset", "batching", "likelihood"):
        assert config.get(name) == plain.get(name)


def test_the_defaults_of_configs_are_the_defaults_of_the_library():
    config = composed()
    model, batching, optimizer = built(config)
    assert batching == Shuffled() and optimizer == Adam()
    assert config["optimizer"] == to_config(Adam())
    assert config["model"]["network"] == to_config(MLP())
    defaults = train.__kwdefaults__
    records = {name: vars(defaults[name]) for name in ("warmup", "speed", "reports")}
    plain = {name: defaults[name] for name in ("epochs", "patience")}
    assert config["trainer"] == plain | records
    assert config["dataset"].keys() - {"name"} == set(_digits_options())
    assert model.config == config["model"]


def test_the_options_of_other_choices_are_the_defaults_of_the_library():
    for override, part in [
        ("network=conv", Conv()),
        ("network=conv1d", Conv1d()),
        ("likelihood=learned_gaussian", LearnedGaussian()),
        ("likelihood=discretised_logistic", DiscretisedLogistic()),
        ("likelihood=poisson", Poisson()),
        ("likelihood=negative_binomial", NegativeBinomial()),
        ("likelihood=multinomial", Multinomial()),
    ]:
        config = composed(override)["model"]
        assert config[override.split("=")[0]] == to_config(part)
    shared = built(composed("likelihood=shared_gaussian"))[0].likelihood
    assert shared == LearnedGaussian(-9.0, 1.0, scope="scalar")


def _digits_options():
    from mlvae.data import digits

    return digits.__kwdefaults__


def test_the_authors_experiment_is_the_authors_recipe():
    config = composed("experiment=mnist_author")
    model, batching, optimizer = built(config)
    assert config["dataset"]["name"] == "mnist"
    assert mnist.__kwdefaults__["validation"] == config["dataset"]["validation"] == 10_000
    assert model.options == MLVAE.Options(
        content_dim=10,
        style_dim=10,
        content_draw="observation",
        network=MLP(hidden=(500,), activation="tanh", shared=True, init="lecun"),
        likelihood=LearnedGaussian(-1.0, 1.0),
        content_kl_weight=1,
        style_kl_weight=1,
    )
    assert batching == Shuffled(256)
    assert optimizer == Adam(learning_rate=1e-3, betas=(0.9, 0.999))
    assert config["trainer"]["epochs"] == 400
    # 784-500-4x10 and 20-500-2x784, with biases.
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == 785 * 500 + 501 * 40 + 21 * 500 + 501 * 1568
    assert all(isinstance(module, torch.nn.Tanh) for module in (model.decoder.trunk[1],))


@pytest.mark.parametrize(
    "override", ["trainer.epoch=3", "model.content=3", "dataset=mnits", "seeds=3"]
)
def test_unknown_keys_and_choices_fail(override):
    with pytest.raises(HydraException):
        composed(override)


def test_the_data_root_is_mlvae_data_unless_it_is_given(monkeypatch):
    monkeypatch.delenv("MLVAE_DATA", raising=False)
    assert composed("dataset=mnist")["dataset"]["root"] == "data"
    monkeypatch.setenv("MLVAE_DATA", "elsewhere")
    assert composed("dataset=mnist")["dataset"]["root"] == "elsewhere"
    assert composed("dataset=mnist", "dataset.root=here")["dataset"]["root"] == "here"


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_the_config_of_a_question_has_its_title_and_its_defaults(question):
    path = CONFIGS / "evaluation" / f"{question.__name__.lower()}.yaml"
    assert path.read_text().splitlines()[1] == f"# {question.title}"
    assert yaml.safe_load(path.read_text()) == to_config(question())


def test_every_config_is_plain_yaml_without_tabs():
    for path in CONFIGS.rglob("*.yaml"):
        assert yaml.safe_load(path.read_text()) is not None, path
        assert "\t" not in path.read_text()
