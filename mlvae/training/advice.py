"""Advice on a training that probably does not learn what the user expects.

Each function returns a warning in one line, or None. None of them changes the training.

Shapes: n observations, ... one observation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

import torch

from mlvae.data import GroupedData
from mlvae.data.chosen import at_equal_distances
from mlvae.models.observed import encoder_inputs
from mlvae.models.protocol import has_codes, traits
from mlvae.observations import as_floats

__all__ = [
    "MOST_NATS",
    "advice_on_collapse",
    "advice_on_columns",
    "advice_on_kl",
    "advice_on_scale",
    "advice_on_steps",
]

#: Fewer steps than this are few. The defaults of the configs have thousands.
FEW_STEPS = 300

#: Largest distance of the first bound from 0, in nats per element. Grey levels in [0, 1] with a
#: Bernoulli likelihood begin at 0.7; standardised values with a normal likelihood of standard
#: deviation 1 at 1.4, and of 0.1 at 50.
MOST_NATS = 100.0

#: Largest magnitude of columns, and largest ratio of their standard deviations, without advice.
LARGEST, RATIO = 1e4, 1e3

#: Largest number of observations whose columns are looked at.
LOOKED_AT = 10_000

#: The same number, of a source.
READ = 1024

#: Number of observations whose reconstructions are compared.
COMPARED = 64

#: Smallest share of the observations' variance that the reconstructions have.
LEAST_VARIANCE = 0.01

#: Nats below which a code has almost no information.
LEAST_KL = 0.05

#: Name of a KL term: of the content, the style, or the only code of a model.
TERM = re.compile(r"(?:(\w+)_)?kl_per_(observation|group)")


def advice_on_steps(steps: int, steps_per_epoch: int) -> str | None:
    """Advice before a training of few ``steps``.

    Example:
        >>> advice_on_steps(60, 3)[:36]
        '60 steps (20 epochs of 3) are few: a'
        >>> advice_on_steps(2400, 24) is None
        True
    """
    if steps >= FEW_STEPS:
        return None
    epochs = steps // steps_per_epoch
    return (
        f"{steps} steps ({epochs} epochs of {steps_per_epoch}) are few: a model needs about "
        f"{10 * FEW_STEPS:,}; raise trainer.epochs (epochs=), or lower batching.batch_size for "
        "more steps per epoch"
    )


def advice_on_columns(data: GroupedData) -> str | None:
    """Advice before a training on arrays whose columns have different or very large scales.

    The likelihood is a sum over columns: one with a large scale outweighs all others, and the
    square of a very large value is infinite in float32. Images are in [0, 1] and need no advice.

    Example:
        >>> data = GroupedData(torch.tensor([[1.0, 2e6], [2.0, 5e6]]), [0, 1])
        >>> advice_on_columns(data).split(";")[0]
        'columns of x have standard deviations from 0.5 to 1.5e+06 and values up to 5e+06'
    """
    if not data.x.is_floating_point():
        return None
    x = data.sample(LOOKED_AT if isinstance(data.x, torch.Tensor) else READ).flatten(1).double()
    deviations = x.std(0, correction=0)
    deviations = deviations[deviations > 0]
    largest = float(x.abs().max())
    if largest <= 1 and float(x.min()) >= 0:
        return None
    low, high = (float(end) for end in deviations.aminmax()) if len(deviations) else (0.0, 0.0)
    if largest <= LARGEST and high <= RATIO * low:
        return None
    return (
        f"columns of x have standard deviations from {low:.3g} to {high:.3g} and values up to "
        f"{largest:.3g}{_extremes(data, x)}; set standardise='feature' of the model "
        "(model.standardise=feature), or standardise each, (x - x.mean(0)) / x.std(0)"
    )


def _extremes(data: GroupedData, x: torch.Tensor) -> str:
    """The features with the smallest and largest deviations in brackets, if they have names."""
    if data.feature_names is None:
        return ""
    deviations = x.std(0, correction=0)
    small = deviations.where(deviations > 0, torch.inf).argmin()
    low, high = (data.feature_names[int(place)] for place in (small, deviations.argmax()))
    return f" (smallest: {low}, largest: {high})"


def advice_on_scale(values: Mapping[str, float], shape: Sequence[int]) -> str | None:
    """Advice if the bound of the first steps is far from 0 for the number of elements.

    Args:
        values: averages over the first steps by name.
        shape: shape of one observation.
    """
    bound = values.get("elbo_per_observation")
    elements = math.prod(shape)
    if bound is None or abs(bound) <= MOST_NATS * elements:
        return None
    return (
        f"the first bound is {bound:,.0f} nats per observation, {bound / elements:,.0f} per "
        "element of x: the scale of x does not fit the likelihood; set standardise='feature' "
        "of the model (model.standardise=feature), or choose a likelihood for such "
        "values, such as learned_gaussian, or one for counts"
    )


def advice_on_kl(metrics: Mapping[str, float], given: Collection[str] = ()) -> list[str]:
    """Advice for each KL term that is nearly 0 at the end of a training.

    Args:
        metrics: last values by "split/name". Those of the validation data are preferred.
        given: names of codes that are looked up, not inferred, so that they have no KL. A code of
            one of several groupings, as content_speaker, has its KL in that of the content.
    """
    found, without = [], {name.partition("_")[0] for name in given}
    for name, value in metrics.items():
        split, _, term = name.partition("/")
        if not (match := TERM.fullmatch(term)) or abs(value) >= LEAST_KL:
            continue
        if split == "train" and f"validation/{term}" in metrics:
            continue
        code, unit = match[1] or "latent", match[2]
        if code in without:
            continue
        found.append(
            f"the {code} KL is {value:.3f} nats per {unit}: the {code} has almost no information "
            "on x; lower the weight of this KL, set trainer.warmup.kl_steps, or train longer"
        )
    return found


@torch.no_grad()
def advice_on_collapse(model: object, data: GroupedData) -> str | None:
    """Advice if a trained model decodes nearly the same observation from every code.

    The variance of the reconstructions between observations, summed over elements, is compared
    with that of the observations, both as the encoder receives them. No random number is drawn.

    Args:
        model: a model in any mode, which stays as it is.
        data: observations with the given values that the model needs.
    """
    if not has_codes(model) or len(data) < 2:
        return None
    rows = at_equal_distances(len(data), COMPARED)
    batch = data.singles(rows.to(data.device))
    training = model.training
    model.eval()
    decoded = model.decode(**{name: q.mean for name, q in model.codes(batch).items()})
    model.train(training)
    likelihood, scale = traits(model).likelihood, traits(model).standardise
    x, decoded = as_floats(batch.x), decoded.float()
    if scale is not None:
        x, decoded = scale(x), scale(decoded)
    x, decoded = encoder_inputs(likelihood, x), encoder_inputs(likelihood, decoded)
    spread = float(x.var(0).sum())
    share = float(decoded.var(0).sum()) / spread if spread > 0 else 1.0
    if share >= LEAST_VARIANCE:
        return None
    return (
        f"all reconstructions are nearly equal: their variance is {share:.2%} of that of the "
        "observations, so the codes are hardly used; train longer, use another likelihood (such "
        "as shared_gaussian for grey or colour images) or network (conv for images), or set "
        "trainer.warmup.kl_steps"
    )
