"""Probes that are networks: logistic regression and MLPs, several trained as one.

Networks are slices of the same tensors, so one batched product evaluates all. Codes of fewer
dimensions have columns of zeros, which change no network. The codes are drawn anew in every epoch:
a probe that sees one draw of a posterior fits its noise.

Shapes: S networks, M codes, D dimensions, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.evaluation.measures.leakage.drawn import Drawn, Scale
from mlvae.training.seeding import seeded

__all__ = ["MOST_PADDED", "Fit", "Network", "Schedule", "fit_networks"]

BATCH = 256

#: Largest number of columns of a product that is computed in the transposed order.
FEW = 16

#: A network memorises if its training codes have less than this fraction of the lowest held-out
#: cross-entropy.
MEMORISED = 0.5

#: Codes of at most this many dimensions are trained in one batch, with columns of zeros. It is the
#: width of a probe's hidden layer, so the zeros cost little.
MOST_PADDED = 128


class Schedule(NamedTuple):
    """Length of the training of a network.

    Attributes:
        epochs: passes over the codes, each with new draws.
        least: smallest number of steps, for few codes.
        most: largest number of steps, for many codes.
        checks: number of evaluations of the held-out codes, at equal distances, and at the powers
            of two before the first of them. The weights of the lowest held-out cross-entropy are
            kept.
        rate: learning rate of Adam at the first step; it falls to 0 as a cosine.
        full: number of codes from which the rate is that; below, it is in proportion to the square
            root of the number. Few codes are fitted too fast otherwise.
        patience: number of evaluations at equal distances without a lower held-out cross-entropy
            after which a network that only memorises is finished: one whose training codes have
            less than :data:`MEMORISED` times the lowest held-out cross-entropy. A network that
            has found nothing yet has equal values of both, and is never ended. None: no end.
    """

    epochs: int = 25
    least: int = 400
    most: int = 2000
    checks: int = 20
    rate: float = 8e-3
    full: int = 8000
    patience: int | None = None

    def steps(self, codes: int) -> int:
        """Number of steps for a number of training codes."""
        return min(max(self.epochs * codes // BATCH, self.least), self.most)

    def first_rate(self, codes: int) -> float:
        """Learning rate at the first step for a number of training codes."""
        return self.rate * math.sqrt(min(1.0, codes / self.full))

    def checked(self, step: int, last: int) -> bool:
        """Whether the held-out codes are evaluated after a step, the first of which is 1."""
        every = max(1, last // self.checks)
        early = step < every and step & (step - 1) == 0
        return early or step % every == 0 or step == last


class Fit(NamedTuple):
    """Codes of one probe: to train on, and held out to choose the weights.

    Attributes:
        train: codes to train on.
        held: codes to choose by.
        labels: L.
        seed: seed of the probe.
        others: codes of other groups, with their labels, for a probe that learns from these.
    """

    train: Drawn
    held: Drawn
    labels: int
    seed: int
    others: Drawn | None = None


class Network:
    """A trained probe.

    Args:
        scale: standardisation of the codes.
        weights: weight and bias of each layer.
        held_out: cross-entropy of the held-out codes in nats.
    """

    def __init__(self, scale: Scale, weights: list[Tensor], held_out: float) -> None:
        self.scale, self.weights, self.held_out = scale, weights, held_out

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Logarithm of the probability of each label, (M, L), for codes (M, D)."""
        with torch.no_grad():
            x = _forward(self.weights, self.scale(x.float())[None])[0]
            return x.double().log_softmax(-1)


def fit_networks(fits: Sequence[Fit], hidden: Sequence[int], schedule: Schedule) -> list[Network]:
    """Train a network for each of ``fits``, all at once.

    Args:
        fits: codes of the probes; L and the numbers of codes are the same for all.
        hidden: units of the hidden layers; none is multinomial logistic regression.
        schedule: length of the training.
    """
    noise = [seeded(torch.Generator(fit.train.labels.device), fit.seed, "probe") for fit in fits]
    dim = max(fit.train.dim for fit in fits)
    weights = _initial(fits, (dim, *hidden, fits[0].labels))
    scales = [Scale.of(fit.train.draw(n)) for fit, n in zip(fits, noise, strict=True)]
    held = [fit.held.draws(1, n) for fit, n in zip(fits, noise, strict=True)]
    held_x = _stacked([scale(x) for scale, (x, _) in zip(scales, held, strict=True)], dim)
    held_y = torch.stack([y for _, y in held])
    adam = torch.optim.Adam(weights, lr=schedule.rate, fused=True)
    best = torch.full((len(fits),), math.inf, device=held_x.device)
    kept = [weight.detach().clone() for weight in weights]
    number = len(fits[0].train)
    last, rate = schedule.steps(number), schedule.first_rate(number)
    progress = _Progress(schedule, last, best)
    for step, (x, y) in zip(range(last), _batches(fits, scales, noise, dim), strict=False):
        adam.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / last))
        progress.add(_differentiate(weights, x, y))
        adam.step()
        if schedule.checked(step + 1, last):
            best = _keep(weights, kept, best, held_x, held_y)
            if progress.finished(step + 1, best):
                break
    networks = []
    for i, (fit, scale, loss) in enumerate(zip(fits, scales, best.tolist(), strict=True)):
        own = [weight[i : i + 1] for weight in kept]
        networks.append(Network(scale, [own[0][:, : fit.train.dim], *own[1:]], loss))
    return networks


def _initial(fits: Sequence[Fit], sizes: Sequence[int]) -> list[Tensor]:
    """Weights (S, in, out) and biases (S, 1, out) of the layers, with PyTorch's initial values.

    The weights of columns that a code does not have are 0, and stay so.
    """
    weights: list[Tensor] = []
    device = fits[0].train.labels.device
    draws = [seeded(torch.Generator(), fit.seed, "initial weights of a probe") for fit in fits]
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        own = [inputs if layer else fit.train.dim for fit in fits]
        weight, bias = torch.zeros(len(fits), inputs, outputs), torch.zeros(len(fits), 1, outputs)
        for i, (number, draw) in enumerate(zip(own, draws, strict=True)):
            for values in (weight[i, :number], bias[i]):
                values.copy_(torch.rand(values.shape, generator=draw).mul_(2).sub_(1))
                values /= math.sqrt(number)
        weights += [weight.to(device).requires_grad_(), bias.to(device).requires_grad_()]
    return weights


def _stacked(codes: Sequence[Tensor], dim: int) -> Tensor:
    """Codes (M, D) of every network as (S, M, dim), with zeros in columns that a code lacks."""
    return torch.stack([functional.pad(x, (0, dim - x.shape[1])) for x in codes])


def _forward(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Logits (S, M, L) of codes (S, M, D)."""
    last = len(weights) - 2
    for layer in range(0, len(weights), 2):
        x = torch.baddbmm(weights[layer + 1], x, weights[layer])
        x = x if layer == last else x.relu()
    return x


@torch.no_grad()
def _differentiate(weights: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
    r"""The cross-entropy of every network in nats, a mean over codes, (S,); sets the gradients.

    Back-propagation (D. E. Rumelhart, G. E. Hinton, R. J. Williams. Nature 323, 1986): with the
    logits of M codes and their labels the gradient of the last layer's outputs is

    .. math:: \delta = \frac{1}{M} (\mathrm{softmax}(a) - \mathrm{onehot}(y))

    and with the inputs h of a layer, of weights W, the gradients are :math:`h^T \delta` of W, the
    sum of :math:`\delta` over codes of the biases, and :math:`\delta W^T` of h, where h is
    positive. Automatic differentiation computes the same and takes more time.

    Args:
        weights: weights (S, D, L) and biases (S, 1, L) of each layer.
        x: codes, (S, M, D).
        y: labels, (S, M).
    """
    inputs = [x]
    last = len(weights) - 2
    for layer in range(0, len(weights), 2):
        x = _product(inputs[-1], weights[layer]).add_(weights[layer + 1])
        if layer < last:
            inputs.append(x.relu_())
    logs = x.log_softmax(-1)
    loss = -logs.gather(2, y[..., None])[..., 0].mean(1)
    delta = logs.exp_()
    delta.scatter_add_(2, y[..., None], delta.new_full((1, 1, 1), -1.0).expand(*y.shape, 1))
    delta /= y.shape[1]
    for layer in range(last, -1, -2):
        own = inputs.pop()
        weights[layer].grad = _product(own.transpose(1, 2), delta).contiguous()
        weights[layer + 1].grad = delta.sum(1, keepdim=True)
        if layer:  # the slope of a rectifier is 1 where its value is positive
            delta = torch.bmm(delta, weights[layer].transpose(1, 2))
            delta = torch.ops.aten.threshold_backward(delta, own, 0)
    return loss


def _product(a: Tensor, b: Tensor) -> Tensor:
    """The products (S, M, L) of (S, M, D) and (S, D, L).

    Of few columns it is the transpose of the transposed product, which takes MKL a third of the
    time.
    """
    if b.shape[2] > FEW:
        return torch.bmm(a, b)
    return torch.bmm(b.transpose(1, 2), a.transpose(1, 2)).transpose(1, 2)


def _batches(
    fits: Sequence[Fit], scales: Sequence[Scale], noise: Sequence[torch.Generator], dim: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (S, B, dim) with their labels (S, B) without end; new draws in every epoch."""
    labels = [fit.train.y for fit in fits]
    codes: list[Tensor] = []
    while True:
        # Fixed codes are scaled once.
        codes = [
            scale(fit.train.draw(n)) if fit.train.random or not codes else codes[i]
            for i, (fit, scale, n) in enumerate(zip(fits, scales, noise, strict=True))
        ]
        orders = [torch.randperm(len(labels[0]), generator=n, device=n.device) for n in noise]
        for start in range(0, len(orders[0]), BATCH):
            rows = [order[start : start + BATCH] for order in orders]
            yield (
                _stacked([x[row] for x, row in zip(codes, rows, strict=True)], dim),
                torch.stack([y[row] for y, row in zip(labels, rows, strict=True)]),
            )


class _Progress:
    """Whether networks that are trained together are finished before the last step.

    Args:
        schedule: length of the training.
        last: number of steps.
        best: lowest held-out cross-entropy of each network, (S,), at the beginning.
    """

    def __init__(self, schedule: Schedule, last: int, best: Tensor) -> None:
        self.patience, self.every = schedule.patience, max(1, last // schedule.checks)
        self.total, self.steps = torch.zeros_like(best), 0
        self.best, self.waited = best, torch.zeros_like(best)

    def add(self, loss: Tensor) -> None:
        """Add the training cross-entropies of a step, (S,)."""
        if self.patience is not None:
            self.total, self.steps = self.total + loss, self.steps + 1

    def finished(self, step: int, best: Tensor) -> bool:
        """Whether all networks only memorise, after an evaluation of the held-out codes."""
        if self.patience is None or step % self.every:
            return False
        self.waited = torch.where(best < self.best, 0, self.waited + 1)
        memorised = self.total / self.steps < MEMORISED * best
        self.total, self.steps, self.best = torch.zeros_like(best), 0, best
        return bool(((self.waited >= self.patience) & memorised).all())


@torch.no_grad()
def _keep(
    weights: Sequence[Tensor], kept: Sequence[Tensor], best: Tensor, x: Tensor, y: Tensor
) -> Tensor:
    """Copy the weights of the networks whose held-out cross-entropy is the lowest so far."""
    loss = functional.cross_entropy(
        _forward(weights, x).flatten(0, 1), y.flatten(), reduction="none"
    )
    loss = loss.view(len(x), -1).mean(1)
    better = loss < best
    for target, weight in zip(kept, weights, strict=True):
        target[better] = weight[better]
    return torch.where(better, loss, best)
