"""The information about a label in codes of any origin, by one call.

Shapes: N codes, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, check_choice, check_flag, check_integer, shown
from mlvae.evaluation.measures.leakage.division import LEAST, divided
from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import PROBES
from mlvae.evaluation.measures.leakage.networks import Fit
from mlvae.evaluation.measures.leakage.strongest import Strongest, strongest
from mlvae.groups.labels import label_index

__all__ = ["leakage"]


def leakage(
    codes: Any,
    labels: object,
    *,
    probes: tuple[str, ...] = PROBES,
    curve: bool = True,
    seed: int = 0,
) -> Strongest:
    r"""The information about ``labels`` that the strongest of several probes finds in ``codes``.

    Three tenths of the codes of each label are tested on, one tenth is held out to weight the
    probes, and probes are trained on the rest. Posteriors are drawn anew in every epoch. Means
    (``codes.mean``) usually have more information than draws.

    The result is a lower bound of the information, up to its standard error: a probe cannot find
    more than there is, and a stronger probe may find more. ``result.rises`` is true if more codes
    would probably find more.

    Args:
        codes: posteriors of N codes, such as ``model.codes(batch)["style"]``, or an array (N, D).
        labels: N labels: numbers, texts, or whatever :class:`mlvae.Groups` takes.
        probes: kinds of probes: "logistic", "mlp", "large_mlp", "knn", "plda", "trees". Of several
            kinds, their mixture is tested.
        curve: whether to train on parts of the codes as well.
        seed: seed of the split, the draws and the probes.

    Raises:
        InputError: if codes and labels do not fit, a code is not finite, there is one label only,
            or a label has fewer than three codes.

    Example:
        >>> codes = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
        >>> found = leakage(codes, (codes[:, 0] > 0).tolist(), probes=("logistic",))
        >>> found.bits > 0.8, found.entropy < 1.01, found.probe
        (True, True, 'logistic')
    """
    if not isinstance(probes, list | tuple) or not probes:
        raise InputError(f"probes must be kinds of probes, not {shown(probes)}")
    for kind in probes:
        check_choice("probes", kind, PROBES)
    check_flag("curve", curve)
    check_integer("seed", seed, minimum=0)
    values, dim = _codes(codes)
    index, names = label_index(labels)
    y = torch.as_tensor(index, device=dim.device).long()
    if len(y) != len(dim):
        raise InputError(f"labels must be {len(dim)}, one for each code, not {len(y)}")
    sizes = torch.bincount(y)
    if len(sizes) < 2:
        raise InputError("labels must have at least two different values, not 1")
    if int(sizes.min()) < LEAST:
        label = names[int(sizes.argmin())]
        raise InputError(
            f"each label must have at least {LEAST} codes, but {shown(label)} has "
            f"{int(sizes.min())}"
        )
    test, held, rest = divided(y, seed)
    drawn = Drawn(values, y)
    fit = Fit(drawn.part(rest), drawn.part(held), len(sizes), int(seed))
    return strongest({"codes": fit}, drawn.part(test), tuple(probes), curve=curve)


def _codes(codes: Any) -> tuple[Any, Tensor]:
    """Posteriors or a tensor of fixed codes; and a tensor (N, D) of their means."""
    if hasattr(codes, "sample_groups") and hasattr(codes, "moments"):
        values = codes
        mean = codes.mean.detach()
    else:
        values = codes.detach() if isinstance(codes, Tensor) else _array(codes)
        mean = values
    if mean.ndim != 2 or mean.numel() == 0 or mean.is_complex() or mean.dtype == torch.bool:
        raise InputError(f"codes must be posteriors or numbers (N, D), not {shown(codes)}")
    if not mean.float().isfinite().all():
        raise InputError("codes must be finite, but have NaN or an infinity")
    return values, mean


def _array(codes: Any) -> Tensor:
    try:
        array = np.asarray(codes)
    except (ValueError, TypeError):
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "fiu":
        raise InputError(f"codes must be posteriors or numbers (N, D), not {shown(codes)}")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
