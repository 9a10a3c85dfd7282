"""Probes of codes accumulated over sets of k observations.

Shapes: N observations, M sets of k observations, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.arguments import check_type
from mlvae.data import GroupedData
from mlvae.errors import InputError, check_choice, check_flag, check_integer
from mlvae.evaluation.measures.codes import (
    Representation,
    accumulate_sets,
    common_labels,
    cut_sets,
    disjoint_sets,
    encode,
)
from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import PROBES, applies, fit_probes
from mlvae.evaluation.measures.leakage.networks import Fit
from mlvae.evaluation.measures.leakage.scores import ProbeScore
from mlvae.evaluation.measures.leakage.testing import tested
from mlvae.posteriors import DiagonalGaussian, Dirichlet

__all__ = ["drawn_sets", "probe_sets"]


def drawn_sets(
    codes: DiagonalGaussian | Dirichlet | Tensor,
    labels: Tensor,
    sets: Tensor,
    *,
    sample: bool,
    accumulation: str | None = None,
) -> Drawn:
    """The accumulated code of each set, drawn anew at each use or fixed at its mean.

    Args:
        codes: codes of single observations, (N, D): posteriors, or fixed codes, whose mean is
            taken.
        labels: labels of the observations, (N,).
        sets: indices of observations, (M, k).
        sample: True for draws, False for means.
        accumulation: name of the accumulation rule; None is the product of normals.
    """
    y = labels[sets[:, 0]]
    if isinstance(codes, Tensor):
        return Drawn(functional.embedding_bag(sets, codes, mode="mean"), y)
    pooled = accumulate_sets(codes, sets, accumulation=accumulation)
    return Drawn(pooled if sample else pooled.mean, y)


def probe_sets(
    representation: Representation,
    train: GroupedData,
    test: GroupedData,
    *,
    k_train: int = 1,
    k_test: int = 1,
    sample: bool = True,
    kind: str = "mlp",
    accumulation: str | None = None,
    seed: int = 0,
) -> ProbeScore:
    """Accuracy of a probe that predicts the group from codes accumulated over k observations.

    The test observations are cut into disjoint sets of ``k_test``. A tenth of the training
    observations is cut into held-out sets, which choose the weights of the probe. The others are
    cut into disjoint sets of ``k_train`` several times, by ``k_train`` random orders, which gives
    about as many codes as observations. Codes are drawn anew from their posteriors in every epoch.
    The paper trains at one k and tests at smaller k; the other protocol uses the same k for both.

    The strongest of several probes at k = 1: :func:`~mlvae.evaluation.leakage`.

    Args:
        representation: see :func:`mlvae.evaluation.measures.codes.representations`.
        train: observations to train the probe on. Use data that the model was not trained on.
        test: observations to test the probe on, of groups with the same names.
        k_train: number of observations accumulated to a training code.
        k_test: number of observations accumulated to a test code.
        sample: True for draws from the posteriors, False for their means. Codes without variances,
            such as pixels, have no other draws.
        kind: kind of probe: "logistic", "mlp", "large_mlp", "knn", "plda", "trees".
        accumulation: name of the accumulation rule; None is the product of normals.
        seed: seed of the sets, the draws and the probe.

    Raises:
        InputError: if a test group does not occur in training, there is one group only, or no
            group of ``train`` has two sets of ``k_train``.
    """
    for name, data in (("train", train), ("test", test)):
        check_type(name, data, GroupedData, "GroupedData")
    check_flag("sample", sample)
    check_choice("kind", kind, PROBES)
    check_integer("seed", seed, minimum=0)
    generator = torch.Generator(train.device).manual_seed(int(seed))
    own, held = cut_sets(train.groups, k_train, generator=generator)
    test_sets = disjoint_sets(test.groups, k_test, generator=generator)
    labels, test_labels = common_labels(train, test)
    number = len(train.group_names)
    if number < 2:
        raise InputError(f"a probe needs at least two groups, not {number}")
    if not len(held):
        raise InputError(
            f"k_train={k_train} must be at most half of the size of the largest group, "
            f"{int(train.groups.sizes.max())}: other members are held out"
        )
    posterior = encode(representation, train)
    with torch.no_grad():
        random = representation(train.singles([0])).random
    options = {"sample": sample and random, "accumulation": accumulation}
    parts = [drawn_sets(posterior, labels, sets, **options) for sets in (own, held)]
    fit = Fit(parts[0], parts[1], number, int(seed))
    if not applies(kind, fit):
        raise InputError(
            f"kind={kind} is too slow for {number} groups and {fit.train.dim} columns"
        )
    part = drawn_sets(encode(representation, test), test_labels, test_sets, **options)
    return tested(fit_probes(kind, [fit])[0], part, int(seed)).score()
