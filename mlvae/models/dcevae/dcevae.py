"""The disentangled causal effect variational autoencoder.

Shapes: N rows, C columns, D features, U dimensions of a latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.arguments import check_type
from mlvae.batch import Batch
from mlvae.costs.critics import Critic
from mlvae.errors import InputError, check_choice, check_integer, check_number, shown
from mlvae.likelihoods import Likelihood
from mlvae.likelihoods.columns import MixedColumns
from mlvae.models.checks import build_checked, check_batch
from mlvae.models.dcevae.roles import Roles, features_of
from mlvae.models.decoder import build_decoder
from mlvae.models.encoder import build_encoder
from mlvae.models.inputs import Observations, observations
from mlvae.models.latents import Latents, values_of
from mlvae.models.part_checks import check_parts
from mlvae.models.protocol import config_of, takes_options
from mlvae.models.summary import summary
from mlvae.networks import MLP, Network
from mlvae.noise import uniform
from mlvae.objectives import ELBO, Objective
from mlvae.observations import check_shape
from mlvae.posteriors import DiagonalGaussian

__all__ = ["DCEVAE", "DCEVAEOptions"]

#: The roles of the columns that the posterior of each latent depends on.
POSTERIORS = {
    "published": {
        "caused": ("intervention", "caused", "outcome"),
        "rest": ("intervention", "rest", "outcome"),
    },
    "adjusted": {"caused": ("intervention", "caused", "rest", "outcome"), "rest": ("rest",)},
}


@dataclass(frozen=True)
class DCEVAEOptions:
    """Options of :class:`DCEVAE`."""

    roles: Roles = Roles("a", "y")
    caused_dim: int = 4
    rest_dim: int = 3
    network: Network = MLP((100, 100), activation="relu")
    likelihood: Likelihood = MixedColumns()
    kl_weight: float = 1.0
    rest_kl_weight: float = 1.0
    posterior: str = "published"
    independence_weight: float = 0.4
    fairness_weight: float = 0.0
    critic_width: int = 100

    def __post_init__(self) -> None:
        check_parts(self.network, self.likelihood)
        check_type("roles", self.roles, Roles, "Roles(...)")
        if not isinstance(self.likelihood, MixedColumns) or not self.likelihood.columns:
            raise InputError(
                "likelihood of a DCEVAE must be the columns of a table, MixedColumns.of(data), "
                f"not {shown(self.likelihood)}"
            )
        for name in ("caused_dim", "rest_dim", "critic_width"):
            check_integer(name, getattr(self, name), minimum=1)
        for name in ("kl_weight", "rest_kl_weight", "independence_weight", "fairness_weight"):
            check_number(name, getattr(self, name), minimum=0)
        check_choice("posterior", self.posterior, POSTERIORS)


@takes_options(DCEVAEOptions)
class DCEVAE(nn.Module):
    r"""Two latents: causes that an intervention leaves as they are, and causes that belong to it.

    Columns have roles: a is intervened on, :math:`x_d` is caused by a, :math:`x_r` is the rest,
    which may correlate with a, and y is the outcome:

    .. math:: p(x, y \mid a) = \int p(y \mid a, u_d, u_r) \, p(x_d \mid a, u_d) \,
        p(x_r \mid u_r) \, p(u_d) \, p(u_r) \, du_d \, du_r

    with the posteriors :math:`q(u_d \mid a, x_d, y)` and :math:`q(u_r \mid a, x_r, y)`, all
    normal. The loss is minus the bound on :math:`\log p(x, y \mid a)` plus

    .. math:: \beta_{tc} \, \mathrm{KL}(q(a, u_d, u_r) \,\|\, q(a, u_r) \, q(u_d))
        + \beta_f \, \mathrm{E} \, |\bar y(a) - \bar y(1 - a)|

    (H. Kim, S. Shin, J. Jang, K. Song, W. Joo, W. Kang, I.-C. Moon: Counterfactual Fairness with
    Disentangled Causal Effect Variational Autoencoder. AAAI 2021, arXiv:2011.11878.) The first
    makes :math:`u_d` independent of the intervention, so that it stays as it is when a changes. A
    critic estimates it by the density ratio :math:`\log D / (1 - D)`; it is a player of its own,
    with a logistic loss. The second makes the expected outcome :math:`\bar y` equal under both
    values of a; its default is 0.

    A counterfactual follows in three steps (J. Pearl: Causality. 2009, section 7.1): infer
    :math:`u_d, u_r` from the row, set a, decode. :func:`mlvae.counterfactual` does so for a table.

    The result is causal only if the roles are right: no column of :math:`x_r` is caused by a, and
    no unknown cause acts on both a and y but through :math:`x_r` and :math:`u_r`.

    Args:
        shape: (D,), the features of the table.
        roles: the role of each column.
        caused_dim: dimensions of :math:`u_d`.
        rest_dim: dimensions of :math:`u_r`.
        network: builds the encoders and decoders.
        likelihood: the columns of the table, ``MixedColumns.of(data)``.
        kl_weight: factor of the KL in the loss.
        rest_kl_weight: further factor of the KL of :math:`u_r`. A small one makes :math:`u_r` keep
            all of :math:`x_r`, which effects by cell need.
        posterior: "published", or "adjusted": :math:`q(u_d \mid a, x_d, x_r, y)` and
            :math:`q(u_r \mid x_r)`. Where y depends on :math:`x_r`, a :math:`u_d` that keeps y
            can be independent of :math:`u_r` only if its posterior has :math:`x_r`. And
            :math:`u_r` then keeps neither a nor y, also with a small ``rest_kl_weight``, so that
            the total effect is that of an adjustment by :math:`x_r`.
        independence_weight: :math:`\beta_{tc}`.
        fairness_weight: :math:`\beta_f`. The expected outcome is in standardised units; that of a
            binary column is a probability.
        critic_width: units of each of the three hidden layers of the critic.

    Raises:
        InputError: if an option is out of range, or a name is no column.

    Example:
        >>> from mlvae.likelihoods import ColumnScale
        >>> columns = (ColumnScale("sex", "binary"), ColumnScale("hours"), ColumnScale("income"))
        >>> model = DCEVAE(
        ...     (3,), roles=Roles("sex", "income", ("hours",)), likelihood=MixedColumns(columns)
        ... )
        >>> rows = torch.tensor([[1.0, 0.3, -0.2], [0.0, 1.0, 0.5]])
        >>> model.counterfactual(rows, 0.0).shape
        torch.Size([2, 3])
    """

    Options = DCEVAEOptions
    decode_given = ("intervention",)
    modelled: torch.Tensor  # (columns,), bool: the columns that the decoder models

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        chosen = self.options = DCEVAEOptions(**options)
        assert isinstance(chosen.likelihood, MixedColumns)
        self.likelihood = chosen.likelihood
        if self.shape != (self.likelihood.num_features,):
            raise InputError(
                f"shape must be ({self.likelihood.num_features},), the features of the columns of "
                f"the likelihood, not {self.shape}"
            )
        self.columns = chosen.roles.columns(self.likelihood)
        if chosen.posterior == "adjusted" and not self.columns["rest"]:
            raise InputError(
                "posterior=adjusted needs a column without a role in model.roles: the rest"
            )
        build_checked(self, chosen.network, self._build)

    def _build(self) -> None:
        chosen = self.options
        place = {
            role: features_of(columns, self.likelihood) for role, columns in self.columns.items()
        }
        for role, features in place.items():
            place_of = torch.tensor(features, dtype=torch.int64)
            self.register_buffer(f"{role}_features", place_of, False)
        number = len(self.likelihood.columns)
        modelled = [place not in self.columns["intervention"] for place in range(number)]
        self.register_buffer("modelled", torch.tensor(modelled), False)  # p(x, y | a) has no p(a)
        sizes = {role: len(features) for role, features in place.items()}
        self.encoders = nn.ModuleDict()
        self.decoders = nn.ModuleDict()
        for role, dim in (("caused", chosen.caused_dim), ("rest", chosen.rest_dim)):
            inputs = sum(sizes[each] for each in POSTERIORS[chosen.posterior][role])
            self.encoders[role] = build_encoder(chosen.network, (inputs,), (dim,))
        latents = {
            "caused": 1 + chosen.caused_dim,
            "rest": chosen.rest_dim,
            "outcome": 1 + chosen.caused_dim + chosen.rest_dim,
        }
        for role, dim in latents.items():
            if sizes[role]:
                self.decoders[role] = build_decoder(
                    chosen.network, dim, (sizes[role],), self.likelihood
                )
        self.critic = Critic(latents["outcome"], chosen.critic_width)
        self.objective = ELBO(kl_weight=chosen.kl_weight)

    def __repr__(self) -> str:
        return summary(self)

    @property
    def config(self) -> dict[str, Any]:
        """All options as plain values, for :func:`mlvae.models.build`."""
        return config_of(self, self.options)

    @property
    def scales(self) -> dict[str, Tensor]:
        """The factors of the objective that a warm-up sets."""
        return self.objective.scales

    @property
    def players(self) -> dict[str, list[nn.Parameter]]:
        """The model, and the critic, which minimises a loss of its own."""
        critic = list(self.critic.parameters())
        known = {id(parameter) for parameter in critic}
        return {
            "model": [p for p in self.parameters() if id(p) not in known],
            "critic": critic,
        }

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The losses of the model and of the critic, from one sample of every latent.

        Args:
            batch: features, float (N, D). The groups are not used.
            generator: source of the noise, on the model's device; None is torch's own.
        """
        check_batch(batch, self.shape)
        x, chosen = batch.x, self.options
        a = x[:, self._features("intervention")]
        posteriors = self.posteriors(x)
        caused, rest = (q.sample(generator=generator) for q in posteriors.values())
        parameters = self._decoded(a, caused, rest)
        cells = self.likelihood.cell_log_prob(parameters, x) * self.modelled
        kl_caused, kl_rest = (q.kl() for q in posteriors.values())
        objective = self.objective(log_likelihood=cells.sum(1), kl=kl_caused + kl_rest)
        order = uniform((len(x),), generator=generator, device=x.device).argsort()
        beside = torch.cat((a, rest), 1)
        ratio = self.critic(beside, caused)  # log D / (1 - D) of the joint distribution
        cost = chosen.independence_weight * ratio
        if chosen.rest_kl_weight != 1:
            weight = chosen.kl_weight * self.objective.kl_scale
            cost = cost + (chosen.rest_kl_weight - 1) * weight * kl_rest
        terms = {"dependence": ratio}
        if chosen.fairness_weight:
            gap = self._gap(a, caused, rest)
            cost, terms = cost + chosen.fairness_weight * gap, {**terms, "outcome_gap": gap}
        if self.training:
            objective = objective.plus(cost.sum(), terms, {})
        joint = functional.softplus(-self.critic(beside.detach(), caused.detach()))
        apart = functional.softplus(self.critic(beside.detach(), caused.detach()[order]))
        critic = 0.5 * (joint + apart).mean()
        return Objective(
            losses={**objective.losses, "critic": critic},
            per_observation=objective.per_observation,
            scalars={"critic_loss": critic.detach()},
            elbo=objective.elbo,
            num_observations=objective.num_observations,
        )

    def posteriors(self, x: Tensor) -> dict[str, DiagonalGaussian]:
        """The posteriors "caused" of u_d (N, U) and "rest" of u_r (N, U) of features x (N, D)."""
        inputs = self.likelihood.inputs(x)
        parts = {role: inputs[:, self._features(role)] for role in self.columns}
        found = {}
        for role, encoder in self.encoders.items():
            known = POSTERIORS[self.options.posterior][role]
            (found[role],) = encoder(torch.cat([parts[each] for each in known], 1))
        return found

    def _features(self, role: str) -> Tensor:
        return getattr(self, f"{role}_features")

    def _decoded(self, a: Tensor, caused: Tensor, rest: Tensor) -> Tensor:
        """Parameters (N, 2, D) of all columns; those of a are zero."""
        latents = {
            "caused": torch.cat((a, caused), 1),
            "rest": rest,
            "outcome": torch.cat((a, caused, rest), 1),
        }
        found = a.new_zeros(len(a), self.likelihood.outputs, *self.shape)
        for role, decoder in self.decoders.items():
            values = decoder(latents[role]).to(found.dtype)
            found = found.index_copy(2, self._features(role), values)
        return found

    def _gap(self, a: Tensor, caused: Tensor, rest: Tensor) -> Tensor:
        """Distance (N,) of the expected outcomes under both values of a."""
        means = [
            self._expected(value, caused, rest)[:, self._features("outcome")]
            for value in (a, 1 - a)
        ]
        return (means[0] - means[1]).abs().sum(1)

    def _expected(self, a: Tensor, caused: Tensor, rest: Tensor) -> Tensor:
        """Expected features (N, D) in standardised units."""
        return self.likelihood.inputs(self.likelihood.mean(self._decoded(a, caused, rest)))

    def infer(self, x: Observations) -> DiagonalGaussian:
        """The posteriors of u_d and u_r of rows x (N, D), side by side: (N, 2 U)."""
        found = self.posteriors(observations(x, self.shape, self)).values()
        return DiagonalGaussian(
            torch.cat([q.mean for q in found], 1), torch.cat([q.log_variance for q in found], 1)
        )

    def codes(self, batch: Batch) -> dict[str, DiagonalGaussian]:
        """The posteriors "caused" (N, U) and "rest" (N, U) of each row of a batch."""
        check_batch(batch, self.shape)
        return self.posteriors(batch.x)

    def decode(self, caused: Latents, rest: Latents, intervention: Any = 1.0) -> Tensor:
        """The expected features (N, D) of latents, under a value of the intervention.

        Args:
            caused: values (N, U) of u_d, or a posterior, whose mean is used.
            rest: values (N, U) of u_r, likewise.
            intervention: 0 or 1, or a value for each row, (N,).
        """
        caused = values_of("caused", caused, self.options.caused_dim, self)
        rest = values_of("rest", rest, self.options.rest_dim, self)
        a = self._values_of_a(intervention, len(caused), caused)
        found = self.likelihood.mean(self._decoded(a, caused, rest))
        return found.index_copy(1, self._features("intervention"), a)

    def _values_of_a(self, value: Any, length: int, like: Tensor) -> Tensor:
        """Values of the intervention, (N, 1)."""
        a = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        a = a.expand(length) if a.ndim == 0 else a
        if torch.compiler.is_compiling():
            return a[:, None]
        if a.shape != (length,) or not bool(((a == 0) | (a == 1)).all()):
            raise InputError(
                f"intervention must be 0 or 1, or such a value for each of {length} rows, not "
                f"{shown(value)}"
            )
        return a[:, None]

    @torch.no_grad()
    def counterfactual(
        self,
        x: Observations,
        intervention: Any,
        *,
        keep_noise: bool = True,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The features (N, D) that rows x (N, D) would have had under an intervention.

        Args:
            x: features, in memory, or :class:`~mlvae.GroupedData`.
            intervention: 0 or 1, or a value for each row, (N,).
            keep_noise: whether real and positive numbers keep the noise of their row: the distance
                from the mean of the likelihood, in its standard deviations. It is a cause too,
                which the intervention does not change. A row whose a stays as it is then stays
                whole. False: expected values for all rows, as an effect on a binary outcome needs.
            generator: for one sample of the latents of each row; None: their posterior means.

        Returns:
            Features in which caused columns and outcome are as the intervention makes them.
            Counts are expected values, and binary, ordinal and categorical columns have
            probabilities. The rest stays as it is.
        """
        x = observations(x, self.shape, self)
        latents = [
            q.mean if generator is None else q.sample(generator=generator)
            for q in self.posteriors(x).values()
        ]
        before = x[:, self._features("intervention")]
        a = self._values_of_a(intervention, len(x), x)
        other = self._decoded(a, *latents)
        if keep_noise:
            found = self.likelihood.carried(x, self._decoded(before, *latents), other)
            found = torch.where(a == before, x, found)  # consistency: nothing has changed
        else:
            found = self.likelihood.mean(other)
        kept = self._features("rest")
        found = found.index_copy(1, self._features("intervention"), a)
        return found.index_copy(1, kept, x[:, kept])
