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

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.data import GroupedData
from mlvae.errors import InputError, check_choice
from mlvae.evaluation.codes import (
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

#: Of the MLP probe: units of a layer, codes in a step, and when it stops: after PATIENCE epochs
#: that together gain less than LEAST_GAIN nats on the codes held out, but not before LEAST_STEPS
#: steps: few codes of many labels give short epochs, of which the first ones gain nothing.
WIDTH, BATCH, PATIENCE, LEAST_GAIN, LEAST_STEPS, MOST_EPOCHS = 256, 256, 5, 1e-3, 500, 300


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
    """Train a probe and test it; see :class:`Probe`.

    Args:
        train: codes (M, D) and labels (M,) to train on.
        test: codes and labels to test on; labels must occur in training.
        kind: of the probe.
        seed: of the probe's own randomness.

    Raises:
        InputError: if there is one label only, or a test label that training lacks.
    """
    return Probe(*train, kind=kind, seed=seed).score(*test)


class Probe:
    """A classifier trained on codes, to be tested on as many others as one likes.

    Args:
        codes: codes (M, D) to train on. They are standardised first.
        labels: label of each, (M,).
        kind: "mlp", two hidden layers of 256 units as in the paper, trained on the device of the
            codes until the cross-entropy of those held out improves no more;
            "logistic", multinomial logistic regression; "knn", the 15 nearest neighbours, whose
            frequencies are smoothed by one count spread over the labels.
        seed: of the probe's own randomness.
        held: which codes the MLP holds out, (M,), because others would know them: those of sets
            that overlap. None, or none of them, is a random tenth.

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
        self.kind = kind
        self.known, y = labels.to(codes.device).unique(return_inverse=True)
        if len(self.known) < 2:
            raise InputError("a probe needs at least two labels to tell apart, not one")
        x = codes.detach().float()
        # A dimension that hardly varies is not blown up to the size of the others.
        spread = x.std(0, correction=0)
        self.mean, self.scale = x.mean(0), spread.clamp_min(max(0.01 * float(spread.max()), 1e-12))
        x = (x - self.mean) / self.scale
        if kind == "mlp":
            self.network = _two_layers(x, y, seed, held)
            return
        # Seconds that `import mlvae` need not take.
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        classifier = (
            LogisticRegression(max_iter=10_000)
            if kind == "logistic"
            else KNeighborsClassifier(min(NEIGHBOURS, len(x)))
        )
        self.classifier = classifier.fit(x.cpu().numpy(), y.cpu().numpy())

    def score(self, codes: Tensor, labels: Tensor) -> ProbeScore:
        """How well the probe reads ``labels`` (M,) from ``codes`` (M, D).

        Raises:
            InputError: if there is a label that training lacked.
        """
        labels = labels.to(self.known.device)
        if missing := labels[~torch.isin(labels, self.known)].unique().tolist():
            raise InputError(
                f"a probe must have seen every label it is tested on, but not {missing}"
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


def _two_layers(x: Tensor, y: Tensor, seed: int, held: Tensor | None) -> nn.Module:
    """The paper's probe, trained until the codes that are held out improve no more.

    scikit-learn's own stops early by accuracy, which leaves the cross-entropy, hence the bound on
    the conditional entropy, anywhere; this one stops by the cross-entropy itself.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator).to(x.device)
    if held is None or not held.any():
        held = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        held[order[: max(1, len(order) // 10)]] = True
    held, rest = order[held[order]], order[~held[order]]
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(x.shape[1], WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, int(y.max()) + 1),
        ).to(x.device)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    best, mark, stale, state = math.inf, math.inf, 0, {}
    steps_an_epoch = -(-len(rest) // BATCH)
    for epoch in range(1, MOST_EPOCHS + 1):
        shuffled = rest[torch.randperm(len(rest), generator=generator).to(x.device)]
        for rows in shuffled.split(BATCH):
            loss = functional.cross_entropy(network(x[rows]), y[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
        with torch.no_grad():
            loss = float(functional.cross_entropy(network(x[held]), y[held]))
        mark, stale = (loss, 0) if loss < mark - LEAST_GAIN else (mark, stale + 1)
        if loss < best:
            best = loss
            state = {name: value.clone() for name, value in network.state_dict().items()}
        if stale >= PATIENCE and epoch * steps_an_epoch >= LEAST_STEPS:
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
    """How well a probe reads the group from codes accumulated over k observations.

    The test observations are cut into disjoint sets of ``k_test``; the training observations
    ``k_train`` times anew into sets of ``k_train``: as many codes as observations. The paper
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
        seed: of the cuts, the draws and the probe.
    """
    generator = torch.Generator(train.device).manual_seed(seed)
    learned, held = cut_sets(train.groups, k_train, generator=generator)
    asked = disjoint_sets(test.groups, k_test, generator=generator)
    scored = []
    for data, label, sets in zip(
        (train, test), common_labels(train, test), (learned, asked), strict=True
    ):
        code = accumulate_sets(encode(representation, data), sets, accumulation=accumulation)
        value = code.sample(generator=generator) if sample else code.mean
        scored.append((value, label[sets[:, 0]]))
    return Probe(*scored[0], kind=kind, seed=seed, held=held).score(*scored[1])
