import numpy as np
import pytest

from mlvae import InputError
from mlvae.evaluation import dci, mig, sap
from mlvae.evaluation.measures.metrics import SCORES, scores

# Properties


def test_one_dimension_per_factor_scores_one_in_all_metrics(grid):
    factors = grid(2, 3)
    found, importance = scores(factors[:, ::-1], factors, continuous=True, seed=3)
    assert list(found) == list(SCORES)
    assert found == pytest.approx(dict.fromkeys(SCORES, 1), abs=1e-6)
    assert importance is not None
    np.testing.assert_allclose(importance, [[0, 1], [1, 0]], atol=1e-6)


# Behaviour


def test_quantities_are_cut_only_for_metrics_of_information(table):
    codes, factors = table
    quantity = codes[:, 1:2] + 0.01
    both = np.column_stack([factors[:, 0], quantity])
    found, importance = scores(
        codes, both, continuous=[False, True], metrics=("mig", "sap", "dci"), factor_bins=5, seed=1
    )
    options = {"continuous": [False, True], "seed": 1}
    assert found["mig"] == mig(codes, both, factor_bins=5)
    assert found["sap"] == sap(codes, both, **options)
    assert found["completeness"] == dci(codes, both, **options).completeness
    assert importance is not None and importance.shape == (5, 2)


def test_one_factor_has_mig_and_sap_only(grid):
    found, importance = scores(grid(2, 3), grid(2, 3)[:, :1])
    assert list(found) == ["mig", "sap"] and importance is None


# Bad input


def test_unknown_metrics_are_refused(grid):
    with pytest.raises(InputError, match=r"metrics.*'mig'"):
        scores(grid(2, 3), grid(2, 3), metrics=("mia", "migg"))
