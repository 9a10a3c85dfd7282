"""DCEVAE: the causal split of the decoders, the critic, and counterfactuals against the truth.

Shapes: N rows, D features.
"""

import numpy as np
import pandas as pd
import pytest
import torch

import mlvae
from mlvae import Batch, InputError
from mlvae.data.sources.scm import TOTAL_EFFECT
from mlvae.likelihoods import ColumnScale, MixedColumns
from mlvae.models import DCEVAE, VSAE, Roles
from mlvae.networks import MLP

QUIET = mlvae.Reports(progress=False, pictures_every=None)
LIKELIHOOD = MixedColumns(
    (
        ColumnScale("income", mean=3.0, deviation=2.0),
        ColumnScale("sex", "binary"),
        ColumnScale("job", "categorical", levels=3),
        ColumnScale("age", "positive", mean=3.5, deviation=0.3),
        ColumnScale("country", "categorical", levels=2),
    )
)
ROLES = Roles("sex", "income", ("job",))
SEX, INCOME, JOB, REST = 1, [0], [2, 3, 4], [5, 6, 7]


def rows(number=30, seed=0):
    zeros = torch.zeros(number, 2, LIKELIHOOD.num_features)
    return LIKELIHOOD.sample(zeros, generator=torch.Generator().manual_seed(seed))


def model(**options):
    torch.manual_seed(0)
    options = {"roles": ROLES, "likelihood": LIKELIHOOD, "network": MLP((16,))} | options
    return DCEVAE((8,), **options).eval()


def test_the_rest_does_not_depend_on_the_intervention_or_on_the_caused_latent():
    dcevae = model()
    latents = torch.randn(9, 4), torch.randn(9, 3)
    one, zero = (dcevae.decode(*latents, value) for value in (1, 0))
    assert one[:, REST].equal(zero[:, REST])
    assert (one[:, JOB] != zero[:, JOB]).any() and (one[:, INCOME] != zero[:, INCOME]).any()
    assert one[:, SEX].eq(1).all() and zero[:, SEX].eq(0).all()
    other = dcevae.decode(torch.randn(9, 4), latents[1], 1)
    assert other[:, REST].equal(one[:, REST]) and (other[:, JOB] != one[:, JOB]).any()
    other = dcevae.decode(latents[0], torch.randn(9, 3), 1)
    assert other[:, JOB].equal(one[:, JOB]) and (other[:, REST] != one[:, REST]).any()


def test_the_same_value_changes_nothing_in_a_row():
    x, dcevae = rows(), model()
    assert dcevae.counterfactual(x, x[:, SEX]).equal(x)
    expected = dcevae.counterfactual(x, x[:, SEX], keep_noise=False)
    posteriors = [q.mean for q in dcevae.posteriors(x).values()]
    assert expected[:, JOB].equal(dcevae.decode(*posteriors, x[:, SEX])[:, JOB])
    flipped = dcevae.counterfactual(x, 1 - x[:, SEX])
    assert flipped[:, REST].equal(x[:, REST]) and flipped[:, SEX].equal(1 - x[:, SEX])


def test_each_player_has_its_own_gradient():
    dcevae = model(fairness_weight=1.0).train()
    objective = dcevae(Batch.ungrouped(rows()), generator=torch.Generator().manual_seed(0))
    players = dcevae.players
    assert {id(p) for each in players.values() for p in each} == {
        id(p) for p in dcevae.parameters()
    }
    gradients = torch.autograd.grad(
        objective.losses["critic"], players["model"], retain_graph=True, allow_unused=True
    )
    assert all(gradient is None for gradient in gradients)
    for name, parameters in players.items():
        found = torch.autograd.grad(objective.losses[name], parameters, retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in found)
        assert any(gradient.ne(0).any() for gradient in found)


def test_the_bound_is_without_the_intervention_and_the_costs():
    x = rows()
    plain, costly = model(), model(independence_weight=3.0, fairness_weight=2.0)
    costly.load_state_dict(plain.state_dict())
    one, two = (
        each(Batch.ungrouped(x), generator=torch.Generator().manual_seed(0))
        for each in (plain, costly)
    )
    assert one.elbo.equal(two.elbo) and one.loss.allclose(-one.elbo.mean())
    with torch.no_grad():
        q = plain.posteriors(x)
        generator = torch.Generator().manual_seed(0)
        caused, rest = (each.sample(generator=generator) for each in q.values())
        cells = LIKELIHOOD.cell_log_prob(plain._decoded(x[:, [SEX]], caused, rest), x)
        bound = cells[:, [0, 2, 3, 4]].sum(1) - q["caused"].kl() - q["rest"].kl()
    torch.testing.assert_close(one.elbo, bound)
    trained = costly.train()(Batch.ungrouped(x), generator=torch.Generator().manual_seed(0))
    terms = trained.per_observation
    cost = 3 * terms["dependence"] + 2 * terms["outcome_gap"]
    assert trained.loss.allclose(-trained.elbo.mean() + cost.mean())


def test_posteriors_depend_on_the_columns_of_their_roles():
    x = rows()
    changed = {"sex": [SEX], "income": INCOME, "job": JOB, "rest": REST}
    expected = {
        "published": {"caused": {"sex", "income", "job"}, "rest": {"sex", "income", "rest"}},
        "adjusted": {"caused": set(changed), "rest": {"rest"}},
    }
    for posterior, columns in expected.items():
        dcevae = model(posterior=posterior)
        before = dcevae.posteriors(x)
        found = {"caused": set(), "rest": set()}
        for name, places in changed.items():
            other = x.clone()
            other[:, places] = x.roll(1, 0)[:, places]
            for latent, q in dcevae.posteriors(other).items():
                if not q.mean.equal(before[latent].mean):
                    found[latent].add(name)
        assert found == columns


def test_the_weight_of_the_kl_of_the_rest_changes_the_loss_and_not_the_bound():
    x = rows()
    plain, other = model().train(), model(rest_kl_weight=0.25).train()
    one, two = (
        each(Batch.ungrouped(x), generator=torch.Generator().manual_seed(0))
        for each in (plain, other)
    )
    kl = plain.posteriors(x)["rest"].kl()
    torch.testing.assert_close(one.loss - two.loss, 0.75 * kl.mean())
    assert one.elbo.equal(two.elbo)
    plain.scales["kl_scale"].fill_(0.5)
    other.scales["kl_scale"].fill_(0.5)
    one, two = (
        each(Batch.ungrouped(x), generator=torch.Generator().manual_seed(0))
        for each in (plain, other)
    )
    torch.testing.assert_close(one.loss - two.loss, 0.375 * kl.mean())


@pytest.mark.parametrize("kind", [DCEVAE, VSAE])
def test_compiled_steps_are_the_eager_steps(kind):
    from mlvae.training.speed.compiling import compiled
    from mlvae.training.sums import forward_of

    options = {"roles": ROLES, "fairness_weight": 1.0} if kind is DCEVAE else {}
    torch.manual_seed(0)
    trained = kind((8,), likelihood=LIKELIHOOD, network=MLP((8,)), **options)
    given = {} if kind is DCEVAE else {"observed": torch.rand(30, 5) < 0.8}
    batch = Batch(rows(), Batch.ungrouped(rows()).groups, given=given)
    several = kind is DCEVAE
    run = compiled(trained, backend="eager", several_losses=several)
    passed, eager = (
        each(batch, generator=torch.Generator().manual_seed(0))
        for each in (run, forward_of(trained))
    )
    assert passed.losses.keys() == eager.losses.keys()
    for name, loss in passed.losses.items():
        torch.testing.assert_close(loss, eager.losses[name])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    splits = mlvae.data.scm(rows=4000)
    torch.manual_seed(0)
    dcevae = DCEVAE(
        splits.train.shape,
        roles=Roles("a", "y", ("d1", "d2")),
        likelihood=MixedColumns.of(splits.train),
        network=MLP((64,), activation="relu"),
    )
    run = tmp_path_factory.mktemp("runs") / "scm"
    mlvae.train(
        dcevae,
        splits.train,
        run=run,
        epochs=50,
        optimizer=mlvae.Adam(2e-3, schedule="cosine"),
        reports=QUIET,
    )
    return mlvae.load(run), splits


def test_counterfactuals_are_near_the_truth_of_a_causal_model(trained):
    dcevae, splits = trained
    test = splits.test
    a = test.x[:, 0]
    other = mlvae.counterfactual(dcevae, test, {"a": 1 - a.numpy()})
    error = (other[:, 4] - test.factors["y_other"]).square().mean().sqrt()
    assert error < 0.2
    effect = float(((other[:, 4] - test.x[:, 4]) * (1 - 2 * a)).mean())
    observed = float(test.x[a == 1, 4].mean() - test.x[a == 0, 4].mean())
    assert abs(effect - TOTAL_EFFECT) < 0.15 < 0.4 < observed - TOTAL_EFFECT


def test_a_frame_is_returned_as_it_would_have_been(trained):
    dcevae, splits = trained
    names = splits.train.feature_names
    frame = pd.DataFrame(splits.test.x[:20].numpy(), columns=names)
    frame["a"] = frame["a"].astype(bool)
    found = mlvae.counterfactual(dcevae, frame, {"a": True})
    assert found["a"].all() and found["a"].dtype == bool
    pd.testing.assert_series_equal(found["r"], frame["r"])
    ill = frame["a"].to_numpy()
    np.testing.assert_allclose(found["y"][ill], frame["y"][ill], rtol=1e-4, atol=1e-4)
    assert (found["y"][~ill] > frame["y"][~ill]).mean() > 0.9
    one, two = mlvae.counterfactual(dcevae, frame, {"a": False}, draws=2)
    assert (one["y"] != two["y"]).any()


@pytest.mark.parametrize(
    ("intervention", "match"),
    [({"b": 1}, "'a'"), ({"a": 2}, "0 or 1"), ({}, "'a'"), (1, "'a'"), ({"a": "x"}, "0 or 1")],
)
def test_another_intervention_is_refused(trained, intervention, match):
    dcevae, splits = trained
    with pytest.raises(InputError, match=match):
        mlvae.counterfactual(dcevae, splits.test, intervention)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"roles": Roles("sx", "income")}, "'sx'"),
        ({"roles": Roles("job", "income")}, r"job.*binary.*categorical"),
        ({"roles": Roles("sex", "sex")}, r"'sex'.*one role"),
        ({"likelihood": MixedColumns()}, r"MixedColumns\.of"),
        ({"caused_dim": 0}, "caused_dim.*0"),
        ({"posterior": "exact"}, "posterior.*exact"),
        (
            {"posterior": "adjusted", "roles": Roles("sex", "income", ("job", "age", "country"))},
            "rest",
        ),
        ({"rest_kl_weight": -1.0}, "rest_kl_weight.*-1"),
        ({"fairness_weight": -1.0}, "fairness_weight.*-1"),
        ({"roles": ("sex", "income")}, "roles"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        model(**options)
