"""Options and computation of the training costs against group information in the style.

Shapes: N observations, G groups, C content and S style dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlvae.costs.critics import ContentCritic, PairCritic
from mlvae.costs.information import CodeMemory, InformationCritic
from mlvae.costs.matching import moment_gap, squared_mmd
from mlvae.errors import check_integer, check_number
from mlvae.groups import Groups, Share
from mlvae.noise import ShareGenerator, normal, uniform
from mlvae.objectives import Objective
from mlvae.posteriors import DiagonalGaussian

__all__ = ["Separation", "Separators"]

#: Name of the only grouping.
ONE = "group"

#: Options that are weights of costs.
WEIGHTS = ("moments", "mmd", "pair_critic", "content_critic", "information", "swap", "contents")


class Costs(NamedTuple):
    """The costs of a batch.

    Attributes:
        total: the weighted sum over observations, shape ().
        per_observation: unweighted costs (N,) by name.
        per_group: unweighted costs (G,) of one grouping by name.
        per_grouping: unweighted costs (G,) by name, by the name of one of several groupings.
    """

    total: Tensor
    per_observation: dict[str, Tensor]
    per_group: dict[str, Tensor]
    per_grouping: dict[str, dict[str, Tensor]]


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
        r_\text{information} &= T(s'_i, \bar c_i)
            - \log \tfrac1N \sum_l e^{T(s'_i, \bar c_l)} \\
        r_\text{swap} &= -\log q(c_i \mid \hat x(c_i, s_l))

    where :math:`m_G` and :math:`v_G` are the mean and the variances of the styles of a group, j is
    another member of G, l a random observation of the batch, T a critic, :math:`\hat x` the
    decoded observation, :math:`q(c \mid x)` the content posterior of one observation, and
    :math:`s'_i` a draw of the style that evaluation infers, given the mean of the observation's
    own content, and :math:`\bar c_i` the mean of the contents of the group's members in the batch,
    which a critic cannot learn by heart as it can each member's draw. All but the MMD are in nats.

    With several groupings, the costs of the style are of the contents of all groupings side by
    side; the moments, the MMD and the pair critic have a term for each grouping. The cost of
    ``contents`` keeps the content :math:`c^k` of each grouping apart from the others:

    .. math::
        r_\text{contents} = \sum_k 2 \log 2 - \operatorname{softplus}(-T_k(c^k_i, c^{-k}_i))
            - \operatorname{softplus}(T_k(c^k_i, c^{-k}_l))

    where :math:`c^{-k}` are the contents of the other groupings, which identify their groups. It
    is zero if and only if the content of each grouping has no information about the groups of the
    others. That is the aim for crossed groupings. The contents of nested groupings depend on each
    other, so those above and below a grouping are left out.

    Warning:
        The pair critic and the content critic minimise their own loss with weight 1. The weight
        multiplies the reversed gradient of the style only, so the value of the loss contains minus
        the unweighted cost. The information critic is not in the loss: it has steps of its own.

    Args:
        moments: weight of the moment penalty (:func:`~mlvae.costs.matching.moment_gap`).
        mmd: weight of the kernel penalty (:func:`~mlvae.costs.matching.squared_mmd`).
        pair_critic: weight of the same-group discrimination penalty
            (:class:`~mlvae.costs.critics.PairCritic`).
        content_critic: weight of the style-content dependence penalty
            (:class:`~mlvae.costs.critics.ContentCritic`).
        information: weight of the information about the content that a critic finds in the style
            (:class:`~mlvae.costs.information.InformationCritic`). It needs a fast critic and a
            slow encoder; see the guide on separation. With it the model cannot be compiled,
            because the critic computes gradients of its own.
        memory: number of codes of past batches that the information critic learns from
            (:class:`~mlvae.costs.information.CodeMemory`). The encoder changes at every step, so
            codes older than about twenty batches mislead the critic.
        critic_steps: steps of the information critic at each step of the model.
        critic_batch: codes of the memory in each of these steps.
        critic_rate: learning rate of the information critic.
        swap: weight of the swap penalty, the negative log-density of the content under the
            posterior of its decoding with another style. Up to a constant, its negative is a lower
            bound on the information about the content in the decoded image (D. Barber, F. Agakov:
            The IM Algorithm. NeurIPS 2003). A. H. Jha, S. Anand, M. Singh, V. S. R.
            Veeravasarapu: Disentangling Factors of Variation with Cycle-Consistent Variational
            Auto-Encoders. ECCV 2018, arXiv:1804.10469, proposed it as a cycle through content and
            swapped style.
        contents: weight of the penalty on the dependence of the contents of several groupings.
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
    memory: int = 4000
    critic_steps: int = 4
    critic_batch: int = 500
    critic_rate: float = 1e-3
    swap: float = 0.0
    width: int = 256
    contents: float = 0.0

    def __post_init__(self) -> None:
        for name in WEIGHTS:
            check_number(f"separation.{name}", vars(self)[name], minimum=0)
        for name in ("memory", "critic_steps", "critic_batch", "width"):
            check_integer(f"separation.{name}", vars(self)[name], minimum=1)
        check_number("separation.critic_rate", self.critic_rate, minimum=0, exclusive=True)

    @property
    def active(self) -> bool:
        """Whether a cost has a weight above 0."""
        return any(vars(self)[name] for name in WEIGHTS)


def _means(c: Tensor, groups: Groups) -> Tensor:
    """The mean content (N, C) of the members of each observation's group."""
    return groups.spread(groups.sum(c) / groups.sizes.clamp(min=1)[:, None])


def _others(names: Iterable[str], nested: Sequence[str]) -> dict[str, list[str]]:
    """For each grouping, the other ones that its content is kept apart from, if there are any."""
    every = list(names)
    others = {
        name: [n for n in every if n != name and not {n, name} <= set(nested)] for name in every
    }
    return {name: some for name, some in others.items() if some}


class Separators(nn.Module):
    """The costs with a weight above 0, and their critics.

    Args:
        separation: weights of the costs.
        content_dim: number C of content dimensions, or that of each of several groupings by name.
        style_dim: number S of style dimensions.
        nested: names of groupings, each with its groups within those of the one before.

    Attributes:
        information_scale: a further factor of the weight of the information cost, shape (). A
            warm-up moves it from 0 to 1. It is 1 unless it is set, and is not saved. The critic
            learns at any factor.
    """

    information_scale: Tensor

    def __init__(
        self,
        separation: Separation,
        content_dim: int | Mapping[str, int],
        style_dim: int,
        *,
        nested: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.separation = separation
        several = content_dim if isinstance(content_dim, Mapping) else {}
        width = sum(several.values()) if isinstance(content_dim, Mapping) else content_dim
        dims = (width, style_dim, separation.width)
        paired = bool(separation.pair_critic)
        self.pair_critic = PairCritic(*dims) if paired and not several else None
        if paired and several:
            self.pair_critics = nn.ModuleDict({name: PairCritic(*dims) for name in several})
        if separation.contents:
            self.apart = _others(several, nested)
            self.content_critics = nn.ModuleDict(
                {
                    name: ContentCritic(
                        sum(several[one] for one in others), several[name], dims[2]
                    )
                    for name, others in self.apart.items()
                }
            )
        self.content_critic = ContentCritic(*dims) if separation.content_critic else None
        chosen = bool(separation.information)
        rate = separation.critic_rate
        self.information = InformationCritic(*dims, rate=rate) if chosen else None
        self.memory = CodeMemory(separation.memory, *dims[:2]) if chosen else None
        self.register_buffer("information_scale", torch.ones(()), persistent=False)

    @property
    def scales(self) -> dict[str, Tensor]:
        """The factor of the information cost, which a warm-up sets: shape (), by name."""
        if self.information is None:
            return {}
        return {"information_scale": self.information_scale}

    def forward(
        self,
        objective: Objective,
        c: Tensor | Mapping[str, Tensor],
        s: Tensor,
        groups: Groups | Mapping[str, Groups],
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
            c: the sampled content of each observation, (N, C), or that of each of several
                groupings by name.
            s: the sampled style of each observation, (N, S).
            groups: the group of each observation, or the groups of each grouping by name.
            recognise: decodes contents (N, C) with styles (N, S) and infers the content posterior
                (N, C) of each decoded observation.
            style: infers the style posterior (N, S) of each observation as evaluation does.
            generator: source of prior samples, pairs and permutations, on the device of ``c``.
        """
        contents = c if isinstance(c, Mapping) else {ONE: c}
        groupings = groups if isinstance(groups, Mapping) else {ONE: groups}
        codes = (*contents.values(), s)
        if self.information is not None:
            read = style()
            codes = (*codes, read.mean, read.log_variance)
        first = next(iter(groupings.values()))
        if not isinstance(first, Share):
            return objective.plus(*self._costs(codes, groupings, recognise, generator))
        gathered, _ = first.whole(torch.cat(codes, 1))
        shares = {n: each for n, each in groupings.items() if isinstance(each, Share)}
        whole = {name: each.whole(s[:, :1])[1] for name, each in shares.items()}
        if isinstance(generator, ShareGenerator):
            generator = generator.whole
        codes = gathered.split([code.shape[1] for code in codes], 1)
        costs = self._costs(codes, whole, recognise, generator)
        return objective.plus(
            first.rank_share(costs.total),
            {name: v[first.rows] for name, v in costs.per_observation.items()},
            {name: first.own_groups(v) for name, v in costs.per_group.items()},
            {
                grouping: {name: shares[grouping].own_groups(v) for name, v in terms.items()}
                for grouping, terms in costs.per_grouping.items()
            },
        )

    def _costs(
        self,
        codes: Sequence[Tensor],
        groupings: Mapping[str, Groups],
        recognise: Callable[[Tensor, Tensor], DiagonalGaussian],
        generator: torch.Generator | None,
    ) -> Costs:
        """The costs of a whole batch.

        Args:
            codes: contents of each grouping, styles, and with an information critic mean and
                log-variance of the style as evaluation infers it.
            groupings: the groups of the whole batch in each grouping, by name.
            recognise: as in :meth:`forward`.
            generator: as in :meth:`forward`, of the whole batch.
        """
        contents = dict(zip(groupings, codes, strict=False))
        s, *read = codes[len(contents) :]
        c = codes[0] if len(contents) == 1 else torch.cat(list(contents.values()), 1)
        weights = self.separation
        per_observation: dict[str, Tensor] = {}
        per_grouping: dict[str, dict[str, Tensor]] = {name: {} for name in groupings}
        loss = c.new_zeros(())
        if weights.moments:
            for name, groups in groupings.items():
                per_grouping[name]["moment_gap"] = gap = moment_gap(s, groups)
                loss = loss + weights.moments * (groups.sizes * gap).sum()
        if weights.mmd:
            prior = normal(s.shape, generator=generator, dtype=s.dtype, device=s.device)
            for name, groups in groupings.items():
                per_grouping[name]["mmd"] = mmd = squared_mmd(s, prior, groups)
                loss = loss + weights.mmd * (groups.sizes * mmd).sum()
        for name, critic, pair, groups, weight in self._critics(contents, c, s, groupings):
            losses = critic(*pair, groups, weight, generator)
            per_observation[name] = 2 * math.log(2) - losses  # gain over a random guess
            loss = loss + losses.sum()  # the critic's gradient; the encoder's is reversed
        if self.information is not None and self.memory is not None:
            style = DiagonalGaussian(read[0], read[1])
            shared = torch.cat([_means(contents[n], each) for n, each in groupings.items()], 1)
            found = self._information(self.information, self.memory, shared, style, generator)
            per_observation["information"] = found
            loss = loss + weights.information * self.information_scale * found.sum()
        if weights.swap:
            order = uniform((len(s),), generator=generator, device=s.device).argsort()
            per_observation["swap"] = -recognise(c, s[order]).log_prob(c)
            loss = loss + weights.swap * per_observation["swap"].sum()
        if len(groupings) > 1:
            return Costs(loss, per_observation, {}, per_grouping)
        return Costs(loss, per_observation, next(iter(per_grouping.values())), {})

    def _critics(
        self,
        contents: Mapping[str, Tensor],
        c: Tensor,
        s: Tensor,
        groupings: Mapping[str, Groups],
    ) -> Iterator[tuple[str, nn.Module, tuple[Tensor, Tensor], Groups, float]]:
        """The name, the critic, the codes, the groups and the weight of each cost of a critic."""
        weights, first = self.separation, next(iter(groupings.values()))
        if self.pair_critic is not None:
            yield "pair_critic", self.pair_critic, (c, s), first, weights.pair_critic
        elif weights.pair_critic:
            for name, critic in self.pair_critics.items():
                pair = contents[name], s
                yield f"pair_critic_{name}", critic, pair, groupings[name], weights.pair_critic
        if self.content_critic is not None:
            yield "content_critic", self.content_critic, (c, s), first, weights.content_critic
        if weights.contents:
            for name, critic in self.content_critics.items():
                others = torch.cat([contents[other] for other in self.apart[name]], 1)
                pair = others, contents[name]
                yield f"contents_{name}", critic, pair, first, weights.contents

    def _information(
        self,
        critic: InformationCritic,
        memory: CodeMemory,
        c: Tensor,
        style: DiagonalGaussian,
        generator: torch.Generator | None,
    ) -> Tensor:
        """The information of each observation's style about the content c of its group, (N,).

        The critic has not seen the batch: it learns from the memory first.
        """
        for _ in range(self.separation.critic_steps):
            critic.learn(*memory.draw(self.separation.critic_batch, generator=generator))
        s = style.sample(generator=generator)
        terms = critic(s, c.detach())
        memory.write(style, c)
        return terms
