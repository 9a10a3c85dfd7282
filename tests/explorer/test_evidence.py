"""The posteriors that the page computes equal those of the library, in Chromium."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import mlvae
from mlvae.evidence.rules import ACCUMULATIONS, accumulated
from mlvae.explorer.arrays import Arrays
from mlvae.explorer.posteriors import code_record
from mlvae.explorer.selection import Grouping
from mlvae.groups import Groups
from mlvae.models import Traits
from mlvae.posteriors import DiagonalGaussian, Dirichlet, Point

FOLDER = Path(mlvae.__file__).with_name("explorer")


def by_page(browser, q, rule, k, given=()):
    """Mean and variance of one group with the first k rows of q, as the page computes them."""
    arrays = Arrays()
    grouping = Grouping("group", ["a"], [False], [len(q.mean)], [0] * len(q.mean))
    stated = Traits(pooling={"content": rule}, given_codes=frozenset(given))
    record = code_record("content", q, stated, grouping, arrays)
    scripts = "".join((FOLDER / name).read_text() for name in ("decoder.js", "evidence.js"))
    found = browser.run(
        f"""(() => {{ {scripts}
          const read = Arrays.reader({json.dumps(arrays.text())});
          const code = Evidence.prepared({json.dumps(record)}, read);
          const {{ mean, variance }} = Evidence.posterior(code, {list(range(k))});
          return [Array.from(mean), Array.from(variance)];
        }})()"""
    )
    return np.array(found)


@pytest.fixture
def gaussians():
    generator = torch.Generator().manual_seed(0)
    return DiagonalGaussian(
        torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    )


@pytest.mark.parametrize("rule", ACCUMULATIONS)
def test_every_rule_has_the_posterior_of_the_library(rule, gaussians, browser):
    for k in (1, 3, 5):
        expected = accumulated(gaussians[:k], Groups([0] * k), rule)
        mean, variance = by_page(browser, gaussians, rule, k)
        np.testing.assert_allclose(mean, expected.mean[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(variance, expected.moments().variance[0], rtol=1e-5)


@pytest.mark.parametrize("rule", ["prior_corrected", "product"])
def test_shares_have_the_posterior_of_the_library(rule, browser):
    generator = torch.Generator().manual_seed(0)
    q = Dirichlet(0.5 + 3 * torch.rand(4, 3, generator=generator), prior=0.5)
    expected = accumulated(q, Groups([0] * 4), rule)
    mean, variance = by_page(browser, q, rule, 4)
    np.testing.assert_allclose(mean, expected.mean[0], rtol=1e-5)
    np.testing.assert_allclose(variance, expected.moments().variance[0], rtol=1e-5)


def test_points_have_their_mean_and_no_variance(browser):
    q = Point(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    assert by_page(browser, q, "product", 2).tolist() == [[2.0, 4.0], [0.0, 0.0]]


def test_a_code_of_a_label_does_not_depend_on_the_number_of_members(gaussians, browser):
    rows = DiagonalGaussian(
        gaussians.mean[:1].expand(4, -1).contiguous(),
        gaussians.log_variance[:1].expand(4, -1).contiguous(),
    )
    one, four = (by_page(browser, rows, "product", k, given=["content"]) for k in (1, 4))
    np.testing.assert_array_equal(one, four)
