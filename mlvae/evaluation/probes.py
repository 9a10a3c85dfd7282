r"""Probes: how much of a label can be read from a code.

A probe is a classifier trained on codes of some sets and tested on codes of others. Its accuracy
says how readily the label is read; its cross-entropy on the test codes bounds from above what
remains unknown,

.. math:: H(Y \mid \text{code}) \le
    \mathbb E[-\log_2 p_{\text{probe}}(y \mid \text{code})] \quad \text{bits},

which holds for any probe (Barber and Agakov 2003). Content should leave nothing unknown, style as
much as there is, H(Y).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.data import GroupedData
from mlvae.errors import InputError, check_choice, check_integer
from mlvae.evaluation.codes import Representation, accumulate_sets, disjoint_sets, encode

__all__ = ["PROBES", "ProbeScore", "entropy", "probe", "probe_sets"]

PROBES = ("mlp", "logistic", "knn")
NEIGHBOURS = 15


class ProbeScore(NamedTuple):
    """How well a probe reads a label.

    Attributes:
        accuracy: fraction of test codes whose label it gives.
        conditional_entropy: its cross-entropy on the test codes in bits, an upper bound of
            H(Y | code).
        num_codes: test codes.
    """

    accuracy: float
    conditional_entropy: float
    num_codes: int


def entropy(labels: Tensor) -> float:
    """H(Y) in bits of the frequencies of ``labels``: what is unknown without any code."""
    frequency = labels.unique(return_counts=True)[1].double() / len(labels)
    return float(-(frequency * frequency.log2()).sum())


def probe(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    kind: str = "mlp",
    seed: int = 0,
) -> ProbeScore:
    """Train a probe and test it.

    Args:
        train: codes (M, D) and labels (M,) to train on.
        test: codes and labels to test on; labels must occur in training.
        kind: "mlp", two hidden layers of 256 units as in the paper, trained until the
            cross-entropy of a held-out tenth of the training codes improves no more; "logistic",
            multinomial logistic regression; "knn", the 15 nearest neighbours, whose frequencies
            are smoothed by one count spread over the labels. Codes are standardised for each.
        seed: of the probe's own randomness.

    Raises:
        InputError: if there is one label only, or a test label that training lacks.
    """
    check_choice("probe", kind, PROBES)
    (x, y), (test_x, test_y) = (
        (codes.detach().cpu().numpy(), labels.cpu().numpy()) for codes, labels in (train, test)
    )
    known = np.unique(y)
    if len(known) < 2:
        raise InputError("a probe needs at least two labels to tell apart, not one")
    if missing := sorted(set(np.unique(test_y)) - set(known)):
        raise InputError(f"a probe must have seen every label it is tested on, but not {missing}")
    # A dimension that hardly varies is not blown up to the size of the others.
    mean, spread = x.mean(0), x.std(0)
    scale = np.maximum(spread, max(0.01 * spread.max(), 1e-12))
    classifier = _classifier(kind, seed).fit((x - mean) / scale, y)
    probabilities = classifier.predict_proba((test_x - mean) / scale)
    if kind == "knn":
        count = min(NEIGHBOURS, len(x))
        probabilities = (count * probabilities + 1 / len(known)) / (count + 1)
    right = np.searchsorted(known, test_y)
    likelihood = probabilities[np.arange(len(right)), right]
    return ProbeScore(
        accuracy=float((probabilities.argmax(1) == right).mean()),
        conditional_entropy=float(-np.log2(np.maximum(likelihood, np.finfo(float).tiny)).mean()),
        num_codes=len(right),
    )


class _TwoLayers:
    """The paper's probe, an MLP with two hidden layers, behind scikit-learn's interface.

    scikit-learn's own stops early by accuracy, which leaves the cross-entropy, hence the bound on
    the conditional entropy, anywhere; this one stops by the cross-entropy itself.
    """

    WIDTH, BATCH, PATIENCE, EPOCHS = 256, 256, 10, 500

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, x: np.ndarray, y: np.ndarray) -> _TwoLayers:
        """Train until a held-out tenth of the codes improves no more; keep the best state."""
        generator = torch.Generator().manual_seed(self.seed)
        codes, labels = torch.from_numpy(x).float(), torch.from_numpy(np.unique(y, False, True)[1])
        order = torch.randperm(len(codes), generator=generator)
        held, rest = order[: max(1, len(order) // 10)], order[max(1, len(order) // 10) :]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network = nn.Sequential(
                nn.Linear(codes.shape[1], self.WIDTH),
                nn.ReLU(),
                nn.Linear(self.WIDTH, self.WIDTH),
                nn.ReLU(),
                nn.Linear(self.WIDTH, int(labels.max()) + 1),
            )
        adam = torch.optim.Adam(self.network.parameters(), lr=1e-3, fused=True)
        best, stale, state = float("inf"), 0, self.network.state_dict()
        for _ in range(self.EPOCHS):
            for rows in rest[torch.randperm(len(rest), generator=generator)].split(self.BATCH):
                loss = functional.cross_entropy(self.network(codes[rows]), labels[rows])
                adam.zero_grad()
                loss.backward()
                adam.step()
            with torch.no_grad():
                loss = float(functional.cross_entropy(self.network(codes[held]), labels[held]))
            stale = 0 if loss < best else stale + 1
            if stale == 0:
                best = loss
                state = {name: value.clone() for name, value in self.network.state_dict().items()}
            if stale == self.PATIENCE:
                break
        self.network.load_state_dict(state)
        return self

    @torch.no_grad()
    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of the labels in sorted order, (M, labels)."""
        return self.network(torch.from_numpy(x).float()).double().softmax(1).numpy()


def _classifier(kind: str, seed: int) -> object:
    # Seconds that `import mlvae` need not take.
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    if kind == "mlp":
        return _TwoLayers(seed)
    if kind == "logistic":
        return LogisticRegression(max_iter=10_000)
    return KNeighborsClassifier(NEIGHBOURS)


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
    train_codes: int = 10_000,
    seed: int = 0,
) -> ProbeScore:
    """How well a probe reads the group from codes accumulated over k observations.

    The test observations are cut into disjoint sets of ``k_test``; the training observations are
    cut again and again into sets of ``k_train`` until there are ``train_codes`` codes. The paper
    trains at one k and tests at smaller ones; the same k in both is the other protocol.

    Args:
        representation: see :func:`mlvae.evaluation.codes.representations`.
        train: observations to train the probe on, which the model should not have been trained on.
        test: observations to test it on; of the same groups, by name.
        k_train: observations accumulated to a training code.
        k_test: observations accumulated to a test code.
        sample: draw codes from their posteriors, or take their means.
        kind: of the probe.
        accumulation: name of the rule; None is the product of normals.
        train_codes: least number of training codes, if k_train is above 1.
        seed: of the cuts, the draws and the probe.
    """
    check_integer("train_codes", train_codes, minimum=1)
    generator = torch.Generator(train.device).manual_seed(seed)

    def codes(data: GroupedData, k: int, least: int) -> tuple[Tensor, Tensor]:
        posterior, sets, count = encode(representation, data), [], 0
        while count < least or not sets:
            sets.append(disjoint_sets(data.groups, k, generator=generator))
            count += len(sets[-1])
        rows = torch.cat(sets)
        code = accumulate_sets(posterior, rows, accumulation=accumulation)
        value = code.sample(generator=generator) if sample else code.mean
        names = torch.tensor([known.index(name) for name in data.group_names])
        return value, names.to(rows.device)[data.groups.index[rows[:, 0]]]

    known = list(train.group_names)
    if missing := [name for name in test.group_names if name not in known]:
        raise InputError(f"a probe must have seen every group it is tested on, but not {missing}")
    return probe(
        codes(train, k_train, train_codes if k_train > 1 else 1),
        codes(test, k_test, 1),
        kind=kind,
        seed=seed,
    )
