r"""Probes: classifiers that predict a label from a code.

A probe is trained on codes of some sets of observations and tested on codes of others. Its
accuracy measures how easily the label can be predicted. Its cross-entropy on the test codes is an
upper bound of the conditional entropy,

.. math:: H(Y \mid \text{code}) \le
    \mathbb E[-\log_2 p_{\text{probe}}(y \mid \text{code})] \quad \text{bits},

for every probe (Barber and Agakov 2003). The ideal is 0 for content and H(Y) for style.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.arguments import check_floats, check_type, integer_tensor
from mlvae.data import GroupedData
from mlvae.errors import InputError, check_choice, check_flag, check_integer, shown
from mlvae.evaluation.measures.codes import (
    Representation,
    accumulate_sets,
    common_labels,
    cut_sets,
    disjoint_sets,
    encode,
)

__all__ = ["PROBES", "Probe", "ProbeScore", "entropy", "probe", "probe_sets"]

PROBES = ("mlp", "logistic", "knn")
NEIGHBOURS = 15

#: The MLP probe: units per layer and codes per step. Training stops after PATIENCE epochs with a
#: total gain of less than MIN_GAIN nats on the held-out codes, but not before MIN_STEPS steps: few
#: codes of many labels make short epochs, and the first of them have no gain.
WIDTH, BATCH, PATIENCE, MIN_GAIN, MIN_STEPS, MAX_EPOCHS = 256, 256, 5, 1e-3, 500, 300


class ProbeScore(NamedTuple):
    """Accuracy and cross-entropy of a probe.

    Attributes:
        accuracy: fraction of test codes whose label is predicted correctly.
        conditional_entropy: cross-entropy on the test codes in bits, mean over codes: an upper
            bound of H(Y | code).
        num_codes: number of test codes.
    """

    accuracy: float
    conditional_entropy: float
    num_codes: int


def entropy(labels: Tensor) -> float:
    """Entropy H(Y) of the frequencies of ``labels``, in bits."""
    labels = _labels("labels", labels)
    frequency = labels.unique(return_counts=True)[1].double() / len(labels)
    return float(-(frequency * frequency.log2()).sum())


def probe(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    kind: str = "mlp",
    seed: int = 0,
) -> ProbeScore:
    """Train a probe and test it; see :class:`Probe`.

    Args:
        train: codes (M, D) and labels (M,) to train on.
        test: codes and labels to test on. Every test label must occur in training.
        kind: kind of probe.
        seed: seed of the random numbers of the probe.

    Raises:
        InputError: if there is one label only, or a test label does not occur in training.
    """
    for name, pair in (("train", train), ("test", test)):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(f"{name} must be a pair (codes, labels), not {shown(pair)}")
    return Probe(*train, kind=kind, seed=seed).score(*test)


class Probe:
    """A classifier that is trained on codes and can be tested on several sets of codes.

    Args:
        codes: codes (M, D) to train on. They are standardised first.
        labels: labels, (M,).
        kind: "mlp", two hidden layers of 256 units as in the paper, trained on the device of the
            codes until the cross-entropy of the held-out codes stops decreasing; "logistic",
            multinomial logistic regression; "knn", the frequencies among the 15 nearest
            neighbours, smoothed by one count spread uniformly over the labels.
        seed: seed of the random numbers of the probe.
        held: mask (M,) of the codes that the MLP holds out. Sets of held-out codes must not
            overlap with other sets. None, or an empty mask, holds out a random tenth.

    Raises:
        InputError: if there is one label only.
    """

    def __init__(
        self,
        codes: Tensor,
        labels: Tensor,
        *,
        kind: str = "mlp",
        seed: int = 0,
        held: Tensor | None = None,
    ) -> None:
        check_choice("probe", kind, PROBES)
        check_integer("seed", seed, minimum=0)
        codes, labels = _pair(codes, labels)
        self.kind = kind
        self.known, y = labels.to(codes.device).unique(return_inverse=True)
        if len(self.known) < 2:
            raise InputError(f"a probe needs at least two labels, not {len(self.known)}")
        x = codes.detach().float()
        # The lower limit of the scale avoids amplifying dimensions of almost no variance.
        spread = x.std(0, correction=0)
        self.mean, self.scale = x.mean(0), spread.clamp_min(max(0.01 * float(spread.max()), 1e-12))
        x = (x - self.mean) / self.scale
        if kind == "mlp":
            self.network = _two_layers(x, y, seed, held)
            return
        # Local imports: scikit-learn takes seconds, which `import mlvae` does not need.
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        classifier = (
            LogisticRegression(max_iter=10_000)
            if kind == "logistic"
            else KNeighborsClassifier(min(NEIGHBOURS, len(x)))
        )
        self.classifier = classifier.fit(x.cpu().numpy(), y.cpu().numpy())

    def score(self, codes: Tensor, labels: Tensor) -> ProbeScore:
        """Accuracy and cross-entropy for ``labels`` (M,) and ``codes`` (M, D).

        Raises:
            InputError: if a label does not occur in training.
        """
        codes, labels = _pair(codes, labels)
        if codes.shape[1] != len(self.mean):
            raise InputError(
                f"codes must have the {len(self.mean)} dimensions of those in training, not "
                f"{codes.shape[1]}"
            )
        labels = labels.to(self.known.device)
        if missing := labels[~torch.isin(labels, self.known)].unique().tolist():
            raise InputError(
                f"every test label must occur in the training of a probe, but {missing} do not"
            )
        probabilities = self._probabilities((codes.float() - self.mean) / self.scale)
        right = torch.searchsorted(self.known, labels)
        likelihood = probabilities.gather(1, right[:, None]).clamp_min(torch.finfo().tiny)
        return ProbeScore(
            accuracy=float((probabilities.argmax(1) == right).double().mean()),
            conditional_entropy=float(-likelihood.log2().mean()),
            num_codes=len(right),
        )

    @torch.no_grad()
    def _probabilities(self, x: Tensor) -> Tensor:
        """Probability of each label, (M, labels) in float64."""
        if self.kind == "mlp":
            return self.network(x).double().softmax(1)
        probabilities = torch.from_numpy(self.classifier.predict_proba(x.cpu().numpy()))
        if self.kind == "knn":
            count = self.classifier.n_neighbors
            probabilities = (count * probabilities + 1 / len(self.known)) / (count + 1)
        return probabilities.to(x.device, torch.float64)


def _pair(codes: object, labels: object) -> tuple[Tensor, Tensor]:
    """Finite codes (M, D) and labels (M,), or :class:`InputError`."""
    check_floats("codes", codes, "(M, D)", ndim=2)
    assert isinstance(codes, Tensor)
    numbers = _labels("labels", labels)
    if codes.numel() == 0 or len(numbers) != len(codes):
        raise InputError(
            f"codes must be (M, D) with one label for each, not {tuple(codes.shape)} with "
            f"{len(numbers)} labels"
        )
    if not codes.isfinite().all():
        raise InputError("codes must be finite, but have NaN or an infinity")
    return codes, numbers


def _labels(name: str, labels: Any) -> Tensor:
    """Labels (M,), numbers that are finite, or :class:`InputError`."""
    expected = "numbers of shape (M,)"
    floats = isinstance(labels, Tensor) and labels.is_floating_point()
    numbers = labels if floats else integer_tensor(name, labels, expected)
    if numbers.ndim != 1 or len(numbers) == 0 or not numbers.isfinite().all():
        raise InputError(f"{name} must be {expected}, not {shown(labels)}")
    return numbers


def _two_layers(x: Tensor, y: Tensor, seed: int, held: Tensor | None) -> nn.Module:
    """The MLP probe of the paper, with early stopping by the held-out cross-entropy.

    Early stopping in scikit-learn uses the accuracy, so its cross-entropy, the bound on the
    conditional entropy, can be arbitrarily large.
    """
    generator = torch.Generator().manual_seed(int(seed))
    order = torch.randperm(len(x), generator=generator).to(x.device)
    if held is None or not held.any():
        held = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        held[order[: max(1, len(order) // 10)]] = True
    held, rest = order[held[order]], order[~held[order]]
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        torch.manual_seed(int(seed))
        network = nn.Sequential(
            nn.Linear(x.shape[1], WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, int(y.max()) + 1),
        ).to(x.device)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    best, mark, stale, state = math.inf, math.inf, 0, {}
    steps_per_epoch = -(-len(rest) // BATCH)
    for epoch in range(1, MAX_EPOCHS + 1):
        shuffled = rest[torch.randperm(len(rest), generator=generator).to(x.device)]
        for rows in shuffled.split(BATCH):
            loss = functional.cross_entropy(network(x[rows]), y[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
        with torch.no_grad():
            loss = float(functional.cross_entropy(network(x[held]), y[held]))
        mark, stale = (loss, 0) if loss < mark - MIN_GAIN else (mark, stale + 1)
        if loss < best:
            best = loss
            state = {name: value.clone() for name, value in network.state_dict().items()}
        if stale >= PATIENCE and epoch * steps_per_epoch >= MIN_STEPS:
            break
    network.load_state_dict(state)
    return network


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

    The test observations are cut into disjoint sets of ``k_test``. The training observations are
    cut into disjoint sets of ``k_train`` several times, by ``k_train`` random orders, which gives
    about as many codes as observations. The paper trains at one k and tests at smaller k; the
    other protocol uses the same k for both.

    Args:
        representation: see :func:`mlvae.evaluation.measures.codes.representations`.
        train: observations to train the probe on. Use data that the model was not trained on.
        test: observations to test the probe on, of groups with the same names.
        k_train: number of observations accumulated to a training code.
        k_test: number of observations accumulated to a test code.
        sample: True for draws from the posteriors, False for their means.
        kind: kind of probe.
        accumulation: name of the accumulation rule; None is the product of normals.
        seed: seed of the sets, the draws and the probe.
    """
    for name, data in (("train", train), ("test", test)):
        check_type(name, data, GroupedData, "GroupedData")
    check_flag("sample", sample)
    check_choice("kind", kind, PROBES)
    check_integer("seed", seed, minimum=0)
    generator = torch.Generator(train.device).manual_seed(int(seed))
    train_sets, held = cut_sets(train.groups, k_train, generator=generator)
    test_sets = disjoint_sets(test.groups, k_test, generator=generator)
    pairs = []
    for data, label, sets in zip(
        (train, test), common_labels(train, test), (train_sets, test_sets), strict=True
    ):
        code = accumulate_sets(encode(representation, data), sets, accumulation=accumulation)
        value = code.sample_groups(generator=generator) if sample else code.mean
        pairs.append((value, label[sets[:, 0]]))
    return Probe(*pairs[0], kind=kind, seed=seed, held=held).score(*pairs[1])
