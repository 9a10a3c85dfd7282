"""Networks and likelihoods of a user's own: checked, saved, loaded and built again."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import mlvae
from mlvae import InputError
from mlvae.likelihoods import LIKELIHOODS, Likelihood
from mlvae.models import MLVAE, VAE, ConditionalVAE, build, rebuilt
from mlvae.networks import (
    MLP,
    NETWORKS,
    ConditionalNetwork,
    Decoder,
    Encoder,
    Network,
    PlainConv,
)
from mlvae.parts import name_of

QUIET = mlvae.Reports(progress=False)
SHAPE = (3, 8)


@dataclass(frozen=True)
class Linear:
    """The network of the docstring of the protocol."""

    width: int = 4

    def encoder(self, shape, dims):
        layers = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), self.width))
        return Encoder(layers, self.width, dims)

    def decoder(self, latent_dim, shape, outputs):
        return Decoder(
            nn.Sequential(), nn.Linear(latent_dim, outputs * math.prod(shape)), (outputs, *shape)
        )


@dataclass(frozen=True)
class Laplace:
    """Subclasses have a mistake."""

    outputs: ClassVar[int] = 2
    scope: ClassVar[str] = "scalar"
    real: ClassVar[bool] = True

    def log_prob(self, parameters, x):
        location, log_scale = parameters.unbind(1)
        error = (x - location).abs() * (-log_scale).exp()
        return -(error + log_scale + math.log(2)).flatten(1).sum(1)

    def mean(self, parameters):
        return parameters[:, 0]

    def check(self, x):
        pass


def data(number=40, seed=0):
    x = np.random.default_rng(seed).normal(size=(number, *SHAPE)).astype("float32")
    return mlvae.GroupedData(x, np.arange(number) % 4)


def trained(run, model, **options):
    return mlvae.train(model, data(), run=run, epochs=2, reports=QUIET, **options)


# Saved and built again


@pytest.mark.parametrize("parts", [[Linear, Laplace], (Laplace, MLP, Linear)])
def test_a_run_with_own_parts_is_loaded_with_their_classes(tmp_path, parts):
    model = MLVAE(SHAPE, content_dim=2, network=Linear(5), likelihood=Laplace())
    trained(tmp_path / "run", model)
    again = mlvae.load(tmp_path / "run", parts=parts)
    assert again.options == model.options
    x = data().x
    assert torch.equal(again.infer_content(x).mean, model.eval().infer_content(x).mean)


def test_without_the_classes_the_message_names_them(tmp_path):
    trained(tmp_path / "run", MLVAE(SHAPE, network=Linear(), likelihood=Laplace()))
    with pytest.raises(InputError, match=r"Linear, .*parts=\[Linear\]") as error:
        mlvae.load(tmp_path / "run")
    assert "did you mean" not in str(error.value)
    with pytest.raises(InputError, match=r"Laplace, .*parts=\[Laplace\]"):
        mlvae.load(tmp_path / "run", parts=[Linear])


def test_an_own_class_with_the_name_of_one_of_the_library_is_not_mistaken_for_it(tmp_path):
    own = dataclass(frozen=True)(type("MLP", (Linear,), {"__module__": "my_networks"}))
    assert name_of(own) == "my_networks.MLP" and name_of(MLP) == "MLP"
    model = MLVAE(SHAPE, network=own(), likelihood=mlvae.likelihoods.Gaussian())
    trained(tmp_path / "run", model)
    with pytest.raises(InputError, match=r"my_networks\.MLP, .*parts=\[MLP\]"):
        mlvae.load(tmp_path / "run")
    assert type(mlvae.load(tmp_path / "run", parts=[own]).options.network) is own
    # The same class, imported from another module.
    moved = dataclass(frozen=True)(type("MLP", (Linear,), {"__module__": "elsewhere"}))
    assert type(mlvae.load(tmp_path / "run", parts=[moved]).options.network) is moved
    assert (
        type(
            build(SHAPE, {"name": "VAE", "network": {"name": "MLP"}}, parts=[own]).options.network
        )
        is MLP
    )


def test_runs_that_have_the_name_alone_are_loaded(tmp_path):
    model = MLVAE(SHAPE, network=Linear(5), likelihood=Laplace())
    trained(tmp_path / "run", model)
    path = tmp_path / "run" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    state["model_config"]["network"]["name"] = "Linear"
    torch.save(state, path)
    assert mlvae.load(tmp_path / "run", parts=[Linear, Laplace]).options == model.options
    with pytest.raises(InputError, match=r"Linear, .*parts=\[Linear\]"):
        mlvae.load(tmp_path / "run", parts=[Laplace])


@pytest.mark.parametrize("parts", [Linear, [Linear()], ["Linear"], [int], [nn.Module], None])
def test_parts_are_classes_that_a_config_may_name(parts):
    with pytest.raises(InputError, match="parts must be"):
        build(SHAPE, VAE(SHAPE).config, parts=parts)


def test_parts_and_a_model_exclude_each_other(tmp_path):
    model = MLVAE(SHAPE, network=Linear(), likelihood=Laplace())
    trained(tmp_path / "run", model)
    assert mlvae.load(tmp_path / "run", model=model) is model
    with pytest.raises(InputError, match="parts must be empty"):
        mlvae.load(tmp_path / "run", model=model, parts=[Linear])


def test_a_model_is_built_again_with_the_same_parts_and_other_weights():
    model = MLVAE(SHAPE, content_dim=2, network=Linear(5), likelihood=Laplace())
    again = rebuilt(model)
    assert again.options == model.options and type(again) is MLVAE
    assert not torch.equal(again.encoder.heads.weight, model.encoder.heads.weight)


# Protocols


@pytest.mark.parametrize("part", [*NETWORKS, *LIKELIHOODS, Linear, Laplace])
def test_parts_have_the_members_of_their_protocol(part):
    protocol = Likelihood if hasattr(part, "log_prob") else Network
    methods = {name for name in vars(protocol) if not name.startswith("_")}
    assert {name for name in methods if callable(getattr(part(), name))} == methods
    named = {"encoder", "decoder"} if protocol is Network else {"log_prob", "mean", "check"}
    assert methods == named and (protocol is Network or part().outputs >= 1)


def test_the_networks_of_the_library_are_conditional():
    without = {network for network in NETWORKS if not hasattr(network, "conditional_encoder")}
    assert without == {PlainConv}
    assert "conditional_encoder" in vars(ConditionalNetwork)


# Checked at the start


class Wide(Linear):
    def encoder(self, shape, dims):
        return super().encoder(shape, [dim + 1 for dim in dims])


class One(Linear):
    def encoder(self, shape, dims):
        return super().encoder(shape, dims[:1])


class Bare(Linear):
    def encoder(self, shape, dims):
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), sum(dims)))


class Flat(Linear):
    def decoder(self, latent_dim, shape, outputs):
        return nn.Linear(latent_dim, outputs * math.prod(shape))


class Misfit(Linear):
    def encoder(self, shape, dims):
        return Encoder(nn.Sequential(nn.Flatten(), nn.Linear(7, 4)), 4, dims)


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Mixing(Linear):
    def encoder(self, shape, dims):
        layers = nn.Sequential(nn.Flatten(), Centred(), nn.Linear(math.prod(shape), self.width))
        return Encoder(layers, self.width, dims)


class MixingDecoder(Linear):
    def decoder(self, latent_dim, shape, outputs):
        return nn.Sequential(Centred(), super().decoder(latent_dim, shape, outputs))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Wide(), r"encoder of Wide.* \(2, 10\), \(2, 10\) .*\(2, 11\)"),
        (One(), r"encoder of One.* \(2, 10\), \(2, 10\) .*\(2, 10\)$"),
        (Bare(), r"encoder of Bare.* posteriors .*Tensor .*\(2, 20\)"),
        (Flat(), r"decoder of Flat.* \(2, 1, 3, 8\) .*\(2, 20\).*\(2, 24\)"),
        (Misfit(), r"encoder of Misfit.* \(2, 3, 8\).*RuntimeError"),
        (Mixing(), r"encoder of Mixing.* other observations"),
        (MixingDecoder(), r"decoder of MixingDecoder.* other observations"),
    ],
)
def test_a_network_with_a_mistake_is_refused_when_the_model_is_built(network, words):
    state = torch.get_rng_state()
    with pytest.raises(InputError, match=words) as error:
        MLVAE(SHAPE, network=network)
    assert "\n" not in str(error.value)
    torch.set_rng_state(state)


def test_the_check_of_a_network_draws_no_number_and_changes_no_mode():
    @dataclass(frozen=True)
    class Frozen(Linear):
        def encoder(self, shape, dims):
            encoder = super().encoder(shape, dims)
            encoder.trunk.append(nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(self.width)))
            encoder.trunk[-1].eval()
            return encoder

    torch.manual_seed(0)
    model = MLVAE(SHAPE, network=Frozen())
    after = torch.rand(3)
    torch.manual_seed(0)
    Frozen().encoder(SHAPE, (10, 10)), Frozen().decoder(20, SHAPE, 1)
    assert torch.equal(after, torch.rand(3))
    assert model.encoder.training and not model.encoder.trunk[-1].training
    assert int(model.encoder.trunk[-1][1].num_batches_tracked) == 0


def test_a_network_that_fails_on_the_data_is_refused_before_the_training(tmp_path):
    class Reciprocal(nn.Module):
        def forward(self, x):
            return 1 / x.clamp(min=0)

    @dataclass(frozen=True)
    class Dividing(Linear):
        def encoder(self, shape, dims):
            encoder = super().encoder(shape, dims)
            encoder.trunk.insert(0, Reciprocal())
            return encoder

    model = MLVAE((4,), network=Dividing(), likelihood=Laplace())
    zeros = mlvae.GroupedData(np.zeros((6, 4)), [0, 1] * 3)
    with pytest.raises(InputError, match=r"encoder of Dividing.* training.*finite"):
        mlvae.train(model, zeros, run=tmp_path / "run", epochs=1, reports=QUIET)
    assert list(tmp_path.iterdir()) == []


class Exchanged(Laplace):
    def log_prob(self, x, parameters):
        return super().log_prob(parameters, x)


class Unsummed(Laplace):
    def log_prob(self, parameters, x):
        return -(x - parameters[:, 0]).abs()


class Total(Laplace):
    def log_prob(self, parameters, x):
        return super().log_prob(parameters, x).sum()


class Averaged(Laplace):
    def log_prob(self, parameters, x):
        return super().log_prob(parameters, x).mean().expand(len(x))


class AllParameters(Laplace):
    def mean(self, parameters):
        return parameters


class Infinite(Laplace):
    def log_prob(self, parameters, x):
        return super().log_prob(parameters, x) / 0


class Raising(Laplace):
    def log_prob(self, parameters, x):
        return super().log_prob(parameters[:, :1], x)


@pytest.mark.parametrize(
    ("likelihood", "words"),
    [
        (Exchanged(), r"log_prob\(parameters, x\) of Exchanged"),
        (Unsummed(), r"log_prob\(parameters, x\) of Unsummed.*\(2,\).*\(2, 3, 8\)"),
        (Total(), r"log_prob\(parameters, x\) of Total.*\(2,\)"),
        (Averaged(), r"log_prob\(parameters, x\) of Averaged.*other observations"),
        (AllParameters(), r"mean of AllParameters.*\(2, 3, 8\).*\(2, 2, 3, 8\)"),
        (Infinite(), r"log_prob\(parameters, x\) of Infinite.*finite"),
        (Raising(), r"log_prob\(parameters, x\) of Raising.*ValueError"),
    ],
)
@pytest.mark.parametrize("standardise", [None, "channel"])
def test_a_likelihood_with_a_mistake_is_refused_before_a_file_is_written(
    likelihood, words, standardise, tmp_path
):
    model = MLVAE(SHAPE, network=Linear(), likelihood=likelihood, standardise=standardise)
    with pytest.raises(InputError, match=words) as error:
        trained(tmp_path / "run", model)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_likelihood_with_swapped_arguments_is_refused_even_if_the_shapes_agree():
    # Two observations of two features: x[:, 0] has the shape of an observation.
    @dataclass(frozen=True)
    class Swapped(Laplace):
        outputs: ClassVar[int] = 1
        scope: ClassVar[str] = "element"

        def log_prob(self, x, parameters):
            return -(x - parameters[:, 0]).abs().flatten(1).sum(1)

    from mlvae.models.part_checks import check_likelihood

    with pytest.raises(InputError, match=r"log_prob\(parameters, x\) of Swapped"):
        check_likelihood(Swapped(), torch.tensor([[1.0, 2.0], [4.0, 8.0]]))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"outputs": None}, r"outputs.*ClassVar.*Laplace.*None"),
        ({"outputs": 0}, r"outputs.*Laplace.*0"),
        ({"scope": "pixel"}, r"likelihood\.scope.*element, channel, scalar.*'pixel'"),
    ],
)
def test_the_attributes_of_a_likelihood_are_checked(values, words, monkeypatch):
    for name, value in values.items():
        monkeypatch.setattr(Laplace, name, value)
    with pytest.raises(InputError, match=words):
        MLVAE(SHAPE, likelihood=Laplace())


def test_without_a_scope_the_decoder_computes_all_parameters(monkeypatch):
    shared = MLVAE(SHAPE, likelihood=Laplace()).decoder
    monkeypatch.delattr(Laplace, "scope")
    decoder = MLVAE(SHAPE, likelihood=Laplace()).decoder
    assert hasattr(shared, "scale") and not hasattr(decoder, "scale")
    assert decoder(torch.zeros(2, 20)).shape == (2, 2, *SHAPE)


def test_a_conditional_model_names_the_method_that_a_network_lacks():
    for make in (
        lambda: MLVAE(SHAPE, network=Linear(), style_given_content=True),
        lambda: ConditionalVAE(SHAPE, group_names=["a"], network=Linear()),
    ):
        with pytest.raises(InputError, match=r"conditional_encoder.*Linear"):
            make()

    @dataclass(frozen=True)
    class Wrong(Linear):
        def conditional_encoder(self, shape, dim, context):
            return nn.Linear(3, 4)

    with pytest.raises(InputError, match=r"ConditionalEncoder.*Linear\(in"):
        MLVAE(SHAPE, network=Wrong(), style_given_content=True)
