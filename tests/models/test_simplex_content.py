"""The Multi-Level VAE with a content on the simplex. Shapes: N observations, G groups."""

import numpy as np
import pytest
import torch

import mlvae
from mlvae import Batch, Dirichlet, GroupedData, Groups, InputError
from mlvae.evaluation import accumulate_sets, encode, importance_weighted_bound, representations
from mlvae.evidence import PseudoCounts
from mlvae.evidence.sources import EVIDENCE_FROM
from mlvae.grids import generation_grid, swap_grid, traversal_grid
from mlvae.models import MLVAE, build
from mlvae.models.mlvae.bound import content_of
from mlvae.networks import MLP

LABELS = [2, 0, 1, 0, 2, 4, 3, 2, 4]
SIMPLEX = {"content_family": "dirichlet", "accumulation": "prior_product"}


def built(**options):
    torch.manual_seed(0)
    fixed = {"content_dim": 4, "style_dim": 2, "network": MLP(hidden=(16,)), **SIMPLEX}
    return MLVAE((1, 4, 4), **{**fixed, **options})


def images(number=9, seed=1):
    return torch.rand(number, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def run(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return model(Batch(images(), Groups(torch.tensor(LABELS))), generator=generator)


def test_the_content_of_a_group_is_the_prior_plus_the_evidence_of_its_members():
    model = built(content_alpha=0.5).eval()
    single, group = model.infer_content(images()), model.infer_content(images(), LABELS)
    assert isinstance(single, Dirichlet) and (single.concentration >= 0.5).all()
    evidence = single.concentration - 0.5
    for g in range(5):
        expected = 0.5 + evidence[torch.tensor(LABELS) == g].sum(0)
        torch.testing.assert_close(group.concentration[g], expected)


def test_the_bound_has_the_exact_divergence_once_for_each_group():
    model = built().eval()
    objective = run(model)
    content = model.infer_content(images(), LABELS)
    torch.testing.assert_close(objective.per_group["content_kl"], content.kl())
    torch.testing.assert_close(objective.loss, -objective.elbo.mean())


def test_evidence_that_arrives_in_parts_gives_the_content_of_the_whole():
    model = built().eval()
    with torch.no_grad():
        counts = PseudoCounts.of(model.infer_content(images()))
        whole = model.infer_content(images(), [0] * 9)
    parts = sum(counts[i : i + 3] for i in range(0, 9, 3))
    total = parts.accumulate(Groups.of([0, 0, 0]))
    torch.testing.assert_close(total.posterior().concentration, whole.concentration)
    left = total - counts[[0]]
    rest = model.infer_content(images()[1:], [0] * 8)
    torch.testing.assert_close(left.posterior().concentration, rest.concentration)


@pytest.mark.parametrize("members", EVIDENCE_FROM)
def test_a_group_of_one_has_the_prior_where_others_give_the_evidence(members):
    model = built(evidence_from=members).train()
    x, groups = images(3), Groups.of([0, 1, 2])
    member_q, _ = model.posteriors(x)
    content = content_of(model, member_q, groups, torch.Generator().manual_seed(0))
    prior = torch.equal(content.concentration, torch.ones(3, 4))
    assert prior == (members != "subset")
    assert run(model).loss.isfinite()


def test_codes_of_the_library_are_those_of_the_model():
    """mlvae.encode pools the codes of single observations; the counts add up."""
    model = built().eval()
    encoded = mlvae.encode(model, images(), LABELS, variances=True)
    group = model.infer_content(images(), LABELS)
    np.testing.assert_allclose(encoded.content, group.mean.detach(), rtol=1e-5)
    np.testing.assert_allclose(encoded.variances["content"], group.variance.detach(), rtol=1e-4)


def test_measures_pool_the_counts_and_not_the_moments():
    model = built().eval()
    data = GroupedData(images(), LABELS)
    posterior = encode(representations(model, data)["content"], data)
    assert isinstance(posterior, Dirichlet)
    sets = torch.tensor([[0, 4, 7]])
    pooled = accumulate_sets(posterior, sets, accumulation=model.pooling["content"])
    expected = model.infer_content(images(), LABELS).concentration[2]
    torch.testing.assert_close(pooled.concentration[0], expected)
    single = accumulate_sets(posterior, sets[:, :1])
    assert torch.equal(single.concentration, posterior.concentration[:1])


def test_the_importance_weighted_bound_is_tighter():
    model = built().eval()
    data = GroupedData(images(), LABELS)
    few, many = (
        importance_weighted_bound(model, data, num_content=k, num_style=4).sum() for k in (1, 200)
    )
    assert many > few


def test_the_importance_weighted_bound_of_one_sample_is_the_bound():
    model = built().eval()
    data = GroupedData(images(), LABELS)
    draws = torch.stack(
        [
            importance_weighted_bound(model, data, num_content=1, num_style=1, seed=s)
            for s in range(400)
        ]
    )
    bounds = torch.stack([run(model, seed).elbo for seed in range(400)]).double()
    error = (draws.var(0) / 400 + bounds.var(0) / 400).sqrt()
    assert ((draws.mean(0) - bounds.mean(0)).abs() < 4.5 * error).all()


def test_decode_and_pictures_take_points_on_the_simplex():
    model = built().eval()
    batch = Batch(images(4), Groups.of([0, 1, 2, 3]))
    assert swap_grid(model, batch).tiles.shape[:2] == (5, 5)
    generation_grid(model, batch, generator=torch.Generator().manual_seed(0))
    grid = traversal_grid(model, batch, steps=3)
    assert len(grid.rows) == 6 and list(grid.columns) == ["least", "", "most"]
    with pytest.raises(InputError, match="content"):
        model.decode(torch.randn(2, 4), torch.zeros(2, 2))


def test_the_options_are_kept_in_the_config():
    model = built(content_alpha=0.3)
    again = build((1, 4, 4), model.config)
    assert again.options == model.options
    assert again.infer_content(images(2)).prior_concentration.tolist() == pytest.approx([0.3] * 4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"accumulation": "product"}, "prior_product"),
        ({"accumulation": "mixture"}, "prior_product"),
        ({"content_family": "beta"}, "content_family"),
        ({"content_alpha": 0.0}, "content_alpha"),
        ({"content_dim": 1}, "content_dim"),
        ({"content_family": "gaussian", "content_alpha": 2.0}, "content_alpha"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        built(**options)
