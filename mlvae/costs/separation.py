"""Options and computation of the training costs against group information in the style.

Shapes: N observations, G groups, C content and S style dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlvae.costs.critics import ContentCritic, PairCritic
from mlvae.costs.information import CodeMemory, InformationCritic
from mlvae.costs.matching import moment_gap, squared_mmd
from mlvae.errors import InputError, check_integer, check_number
from mlvae.groups import Groups, Share
from mlvae.noise import ShareGenerator, normal, uniform
from mlvae.objectives import Objective
from mlvae.posteriors import DiagonalGaussian

__all__ = ["Separation", "Separators"]

#: Options that are weights of costs.
WEIGHTS = ("moments", "mmd", "pair_critic", "content_critic", "information", "swap")


class Costs(NamedTuple):
    """The costs of a batch.

    Attributes:
        total: the weighted sum over observations, shape ().
        per_observation: unweighted costs (N,) by name.
        per_group: unweighted costs (G,) by name.
    """

    total: Tensor
    per_observation: dict[str, Tensor]
    per_group: dict[str, Tensor]


@dataclass(frozen=True)
class Separation:
    r"""Weights of training costs against group information in the style.

    The loss of a batch is minus its bound plus the weighted costs, summed over observations and
    divided by the number of groups:

    .. math:: \frac{1}{G} \Bigl( -\sum_G \mathrm{ELBO}_G + \sum_k w_k \sum_i r_{k,i} \Bigr).

    With all weights at 0, the default, the loss is that of the bound. The costs of observation i
    in group G are

    .. math::
        r_\text{moments} &= \operatorname{KL}(N(m_G, \operatorname{diag} v_G) \,\|\, N(0, I)) \\
        r_\text{mmd} &= \operatorname{MMD}^2(\{s_j\}_{j \in G}, p(s)) \\
        r_\text{pair critic} &= 2 \log 2 - \operatorname{softplus}(-T(s_i, s_j))
            - \operatorname{softplus}(T(s_i, s_l)) \\
        r_\text{content critic} &= 2 \log 2 - \operatorname{softplus}(-T(s_i, c_i))
            - \operatorname{softplus}(T(s_i, c_l)) \\
        r_\text{information} &= T(s'_i, c_i) - \log \tfrac1N \textstyle\sum_l e^{T(s'_i, c_l)} \\
        r_\text{swap} &= -\log q(c_i \mid \hat x(c_i, s_l))

    where :math:`m_G` and :math:`v_G` are the mean and the variances of the styles of a group, j is
    another member of G, l a random observation of the batch, T a critic, :math:`\hat x` the
    decoded observation, :math:`q(c \mid x)` the content posterior of one observation, and
    :math:`s'_i` a draw of the style that evaluation infers, given the mean of the observation's
    own content. All but the MMD are in nats.

    Warning:
        A critic minimises its own loss with weight 1. Its weight multiplies the reversed gradient
        of the style only, so the value of the loss contains minus the unweighted cost.

    Args:
        moments: weight of the moment penalty (:func:`~mlvae.costs.matching.moment_gap`).
        mmd: weight of the kernel penalty (:func:`~mlvae.costs.matching.squared_mmd`).
        pair_critic: weight of the same-group discrimination penalty
            (:class:`~mlvae.costs.critics.PairCritic`).
        content_critic: weight of the style-content dependence penalty
            (:class:`~mlvae.costs.critics.ContentCritic`).
        information: weight of the information about the content that a critic finds in the style
            (:class:`~mlvae.costs.information.InformationCritic`). It needs a fast critic and a
            slow encoder; see the guide on separation.
        memory: number of codes of past batches that the information critic also learns from
            (:class:`~mlvae.costs.information.CodeMemory`); 0: none. The encoder changes at every
            step, so codes older than about twenty batches mislead the critic.
        remembered: number of codes of the memory at each step.
        swap: weight of the swap penalty, the negative log-density of the content under the
            posterior of its decoding with another style. Up to a constant, its negative is a lower
            bound on the information about the content in the decoded image (D. Barber, F. Agakov:
            The IM Algorithm. NeurIPS 2003). A. H. Jha, S. Anand, M. Singh, V. S. R.
            Veeravasarapu: Disentangling Factors of Variation with Cycle-Consistent Variational
            Auto-Encoders. ECCV 2018, arXiv:1804.10469, proposed it as a cycle through content and
            swapped style.
        width: units of each hidden layer of a critic.

    Example:
        >>> Separation(content_critic=10.0).active
        True
    """

    moments: float = 0.0
    mmd: float = 0.0
    pair_critic: float = 0.0
    content_critic: float = 0.0
    information: float = 0.0
    memory: int = 0
    remembered: int = 1000
    swap: float = 0.0
    width: int = 256

    def __post_init__(self) -> None:
        for name in WEIGHTS:
            check_number(f"separation.{name}", vars(self)[name], minimum=0)
        check_integer("separation.memory", self.memory, minimum=0)
        check_integer("separation.remembered", self.remembered, minimum=1)
        check_integer("separation.width", self.width, minimum=1)
        if self.memory and not self.information:
            raise InputError(
                f"separation.memory={self.memory} is of the information critic: it needs "
                "separation.information above 0"
            )

    @property
    def active(self) -> bool:
        """Whether a cost has a weight above 0."""
        return any(vars(self)[name] for name in WEIGHTS)


class Separators(nn.Module):
    """The costs with a weight above 0, and their critics.

    Args:
        separation: weights of the costs.
        content_dim: number C of content dimensions.
        style_dim: number S of style dimensions.
    """

    def __init__(self, separation: Separation, content_dim: int, style_dim: int) -> None:
        super().__init__()
        self.separation = separation
        dims = (content_dim, style_dim, separation.width)
        self.pair_critic = PairCritic(*dims) if separation.pair_critic else None
        self.content_critic = ContentCritic(*dims) if separation.content_critic else None
        self.information = InformationCritic(*dims) if separation.information else None
        remembers = separation.information and separation.memory
        self.memory = CodeMemory(separation.memory, *dims[:2]) if remembers else None

    def forward(
        self,
        objective: Objective,
        c: Tensor,
        s: Tensor,
        groups: Groups,
        *,
        recognise: Callable[[Tensor, Tensor], DiagonalGaussian],
        style: Callable[[], DiagonalGaussian],
        generator: torch.Generator | None = None,
    ) -> Objective:
        """Add the costs and their terms to ``objective``.

        A batch that is shared by ranks has the costs of one process: each rank compares all
        observations of the batch.

        Args:
            objective: the bound of the batch.
            c: the sampled content of each observation, (N, C).
            s: the sampled style of each observation, (N, S).
            groups: the group of each observation.
            recognise: decodes contents (N, C) with styles (N, S) and infers the content posterior
                (N, C) of each decoded observation.
            style: infers the style posterior (N, S) of each observation as evaluation does.
            generator: source of prior samples, pairs and permutations, on the device of ``c``.
        """
        codes = (c, s)
        if self.information is not None:
            read = style()
            codes = (c, s, read.mean, read.log_variance)
        if not isinstance(groups, Share):
            return objective.plus(*self._costs(codes, groups, recognise, generator))
        gathered, whole = groups.whole(torch.cat(codes, 1))
        if isinstance(generator, ShareGenerator):
            generator = generator.whole
        codes = gathered.split([code.shape[1] for code in codes], 1)
        costs = self._costs(codes, whole, recognise, generator)
        per_observation = {name: v[groups.rows] for name, v in costs.per_observation.items()}
        per_group = {name: groups.own_groups(v) for name, v in costs.per_group.items()}
        return objective.plus(groups.rank_share(costs.total), per_observation, per_group)

    def _costs(
        self,
        codes: Sequence[Tensor],
        groups: Groups,
        recognise: Callable[[Tensor, Tensor], DiagonalGaussian],
        generator: torch.Generator | None,
    ) -> Costs:
        """The costs of a whole batch.

        Args:
            codes: contents, styles, and with an information critic mean and log-variance of the
                style as evaluation infers it.
            groups: the groups of the whole batch.
            recognise: as in :meth:`forward`.
            generator: as in :meth:`forward`, of the whole batch.
        """
        c, s, *read = codes
        weights = self.separation
        per_observation: dict[str, Tensor] = {}
        per_group: dict[str, Tensor] = {}
        loss = c.new_zeros(())
        if weights.moments:
            per_group["moment_gap"] = moment_gap(s, groups)
            loss = loss + weights.moments * (groups.sizes * per_group["moment_gap"]).sum()
        if weights.mmd:
            prior = normal(s.shape, generator=generator, dtype=s.dtype, device=s.device)
            per_group["mmd"] = squared_mmd(s, prior, groups)
            loss = loss + weights.mmd * (groups.sizes * per_group["mmd"]).sum()
        for name, critic, weight in (
            ("pair_critic", self.pair_critic, weights.pair_critic),
            ("content_critic", self.content_critic, weights.content_critic),
        ):
            if critic is not None:
                losses = critic(c, s, groups, weight, generator)
                per_observation[name] = 2 * math.log(2) - losses  # gain over a random guess
                loss = loss + losses.sum()  # the critic's gradient; the encoder's is reversed
        if self.information is not None:
            style = DiagonalGaussian(read[0], read[1])
            losses, remembered = self._information(self.information, c, style, generator)
            per_observation["information"] = -losses
            loss = loss + losses.sum() + len(c) * remembered
        if weights.swap:
            order = uniform((len(s),), generator=generator, device=s.device).argsort()
            per_observation["swap"] = -recognise(c, s[order]).log_prob(c)
            loss = loss + weights.swap * per_observation["swap"].sum()
        return Costs(loss, per_observation, per_group)

    def _information(
        self,
        critic: InformationCritic,
        c: Tensor,
        style: DiagonalGaussian,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Losses of the critic: of each observation of the batch (N,), and of the memory ()."""
        weight = self.separation.information
        losses = critic.losses(style.sample(generator=generator), c, weight)
        if self.memory is None:
            return losses, losses.new_zeros(())
        self.memory.write(style, c)
        past, content = self.memory.draw(self.separation.remembered, generator=generator)
        return losses, -critic(past, content).mean()
