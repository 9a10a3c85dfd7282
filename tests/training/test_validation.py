"""The averages over a data set, and the unit of each."""

import pytest
import torch
from torch import nn

import mlvae
from mlvae import InputError, Reports, Speed
from mlvae.data import Grouped, GroupedData, Shuffled
from mlvae.likelihoods import Gaussian
from mlvae.models import MLVAE, VAE, AdaVAE
from mlvae.networks import MLP
from mlvae.objectives import GroupELBO
from mlvae.training.validation import evaluate_bound

PAIRS = Grouped(groups=5, members=2, small_groups="keep")
PARTS = {"network": MLP((8,)), "likelihood": Gaussian()}


def data_of(sizes=(6, 4, 8)):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    generator = torch.Generator().manual_seed(0)
    return GroupedData(torch.rand(len(labels), 5, generator=generator), labels)


def test_a_vae_has_all_values_per_observation_whatever_the_groups():
    torch.manual_seed(0)
    model = VAE((5,), latent_dim=2, **PARTS)
    values = evaluate_bound(model, data_of(), Shuffled(100))
    assert values.keys() == {
        "loss",
        "elbo_per_observation",
        "log_likelihood_per_observation",
        "kl_per_observation",
    }
    assert values["loss"] == pytest.approx(-values["elbo_per_observation"], rel=1e-5)
    others = evaluate_bound(model, data_of((9, 9)), Shuffled(100))  # the same observations
    assert others == pytest.approx(values, rel=1e-5)


def test_an_mlvae_has_the_bound_per_group_and_per_observation_and_each_term_in_its_unit():
    torch.manual_seed(0)
    values = evaluate_bound(MLVAE((5,), **PARTS), data_of(), Shuffled(100))
    assert values.keys() == {
        "loss",
        "elbo_per_observation",
        "elbo_per_group",
        "log_likelihood_per_observation",
        "style_kl_per_observation",
        "content_kl_per_group",
    }
    assert values["loss"] == pytest.approx(-values["elbo_per_group"], rel=1e-5)
    assert 3 * values["elbo_per_group"] == pytest.approx(18 * values["elbo_per_observation"])
    members = values["log_likelihood_per_observation"] - values["style_kl_per_observation"]
    total = 18 * members - 3 * values["content_kl_per_group"]
    assert 3 * values["elbo_per_group"] == pytest.approx(total, rel=1e-5)


class Deterministic(nn.Module):
    """Terms that are columns of x: no noise and no parameters that matter."""

    def __init__(self):
        super().__init__()
        self.objective = GroupELBO(content_kl_weight=2.0, style_kl_weight=3.0)

    def forward(self, batch, *, generator=None):
        return self.objective(
            log_likelihood=-batch.x[:, 0],
            style_kl=batch.x[:, 1],
            content_kl=batch.groups.sum(batch.x[:, 2]),
            groups=batch.groups,
        )


@pytest.mark.parametrize(
    "batching", [Shuffled(100), Grouped(groups=2, members=100, small_groups="keep")]
)
def test_every_average_of_the_bound_is_the_one_by_hand(batching):
    data = data_of()
    error, style, content = (float(column.double().sum()) for column in data.x.T[:3])
    values = evaluate_bound(Deterministic(), data, batching)
    assert values == pytest.approx(
        {
            "loss": (error + 3 * style + 2 * content) / 3,
            "elbo_per_observation": -(error + style + content) / 18,
            "elbo_per_group": -(error + style + content) / 3,
            "log_likelihood_per_observation": -error / 18,
            "style_kl_per_observation": style / 18,
            "content_kl_per_group": content / 3,
        },
        rel=1e-5,
    )


def test_the_bounds_of_a_vae_and_of_an_adaptive_vae_compare_per_observation():
    torch.manual_seed(0)
    vae, ada = (kind((5,), latent_dim=2, **PARTS) for kind in (VAE, AdaVAE))
    ada.load_state_dict(vae.state_dict())
    ours, theirs = (evaluate_bound(model, data_of(), PAIRS) for model in (ada, vae))
    name = "elbo_per_observation"
    assert ours[name] == pytest.approx(theirs[name], rel=1e-5)
    assert ours["loss"] == pytest.approx(2 * theirs["loss"], rel=1e-5)  # pairs


@pytest.mark.parametrize("batching", [Shuffled(6), Grouped(groups=2, members=3)])
def test_the_reports_of_a_training_have_the_units_of_its_model(tmp_path, batching):
    found = {}
    for kind in (VAE, MLVAE):
        torch.manual_seed(0)
        result = mlvae.train(
            kind((5,), **PARTS),
            data_of(),
            run=tmp_path / kind.__name__,
            batching=batching if isinstance(batching, Shuffled) else PAIRS,
            epochs=1,
            device="cpu",
            reports=Reports(progress=False),
        )
        found[kind] = {name.partition("/")[2] for name in result.metrics}
    assert not [name for name in found[VAE] if name.endswith("_per_group")]
    assert {name for name in found[MLVAE] if name.endswith("_per_group")} == {
        "elbo_per_group",
        "content_kl_per_group",
    }


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("cut", [3, 4])
def test_an_adaptive_vae_with_larger_groups_is_refused(tmp_path, monkeypatch, compile, cut):
    # Groups of 3 and of 1 have the mean size of pairs. Compiled code does not read the sizes.
    monkeypatch.setattr("mlvae.training.speed.compiling.shutil.which", lambda name: name)
    data = data_of((cut, 1, cut, 1))
    with pytest.raises(InputError, match=rf"2 .*of {cut}; .*batching.members=2"):
        mlvae.train(
            AdaVAE((5,), latent_dim=2, **PARTS),
            data,
            run=tmp_path / "run",
            batching=Shuffled(100),
            epochs=1,
            device="cpu",
            speed=Speed(compile=compile),
            reports=Reports(progress=False),
        )
    assert not (tmp_path / "run").exists()


def test_an_adaptive_vae_is_validated_on_groups_of_any_size(tmp_path):
    result = mlvae.train(
        AdaVAE((5,), latent_dim=2, **PARTS),
        data_of(),
        validation=data_of((5, 1)),
        run=tmp_path / "run",
        batching=PAIRS,
        epochs=1,
        device="cpu",
        reports=Reports(progress=False),
    )
    assert result.finished and "validation/elbo_per_observation" in result.metrics
