"""The variational selective auto-encoder.

Shapes: N rows, C columns, D features, B latent dimensions of a column, L = C * B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.data.grouped import GroupedData
from mlvae.errors import InputError, check_choice, check_integer, check_number, shown
from mlvae.likelihoods import Likelihood
from mlvae.likelihoods.columns import MixedColumns
from mlvae.models.checks import build_checked, check_batch
from mlvae.models.decoder import build_decoder
from mlvae.models.encoder import build_encoder
from mlvae.models.inputs import Observations, observations
from mlvae.models.latents import Latents, values_of
from mlvae.models.part_checks import check_parts
from mlvae.models.protocol import config_of, takes_options
from mlvae.models.summary import summary
from mlvae.models.vsae.cell_encoders import CellEncoders
from mlvae.models.vsae.mask import MASKS, MaskOfLatents, MaskOfValues, mask_log_prob
from mlvae.networks import MLP, Network
from mlvae.objectives import ELBO, Objective
from mlvae.observations import check_shape
from mlvae.parts import take_lists
from mlvae.posteriors import DiagonalGaussian

__all__ = ["PSEUDO", "VSAE", "VSAEOptions"]

#: Where the latents of pseudo-observations are drawn.
PSEUDO = ("none", "posterior", "prior")


@dataclass(frozen=True)
class VSAEOptions:
    """Options of :class:`VSAE`."""

    block_dim: int = 2
    cell_hidden: int = 32
    network: Network = MLP((128,))
    likelihood: Likelihood = MixedColumns()
    kl_weight: float = 1.0
    mask: str = "latents"
    pseudo: str = "none"
    pseudo_weight: float = 1.0
    attributes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_parts(self.network, self.likelihood)
        if not isinstance(self.likelihood, MixedColumns) or not self.likelihood.columns:
            raise InputError(
                "likelihood of a VSAE must be the columns of a table, MixedColumns.of(data), not "
                f"{shown(self.likelihood)}"
            )
        check_integer("block_dim", self.block_dim, minimum=1)
        check_integer("cell_hidden", self.cell_hidden, minimum=1)
        check_number("kl_weight", self.kl_weight, minimum=0)
        check_choice("mask", self.mask, MASKS)
        check_choice("pseudo", self.pseudo, PSEUDO)
        check_number("pseudo_weight", self.pseudo_weight, minimum=0)
        take_lists(self, "model", "attributes")
        for number in self.attributes:
            check_integer("attributes", number, minimum=1)
        columns = len(self.likelihood.columns)
        if self.attributes and sum(self.attributes) != columns:
            raise InputError(
                f"attributes must have the sum {columns}, the number of columns, not "
                f"{sum(self.attributes)}: {list(self.attributes)}"
            )


@takes_options(VSAEOptions)
class VSAE(nn.Module):
    r"""A latent block for each column: of its own cell, or of the other cells where it is missing.

    .. math:: q(z \mid x, m) = \prod_{j: m_j = 1} q_\phi(z_j \mid x_j)
        \prod_{j: m_j = 0} q_\psi(z_j \mid x_O, m)

    with the mask m of the observed cells :math:`x_O`. The bound is

    .. math:: \log p(x_O, m) \ge \mathbb E_q\Bigl[\log p(m \mid z)
        + \sum_{j: m_j = 1} \log p(x_j \mid z)\Bigr] - \mathrm{KL}(q(z \mid x, m) \,\|\, p(z))

    (Y. Gong, H. Hajimirsadeghi, J. He, T. Durand, G. Mori: Variational Selective Autoencoder:
    Learning from Partially-Observed Heterogeneous Data. AISTATS 2021, arXiv:2102.12679.) The
    encoders of single cells are the *attributive* proposals, the encoder of all observed cells and
    the mask is the *collective* proposal. A decoder computes every column from all blocks.

    The published objective has a further term for missing cells, whose values are draws of the
    model itself ("pseudo-observations"). The text that was available does not define the draw, so
    it is an option: ``pseudo``. With a pseudo term the objective is no bound on log p(x_O, m).

    Note:
        The method is covered by a granted patent, US 12,033,083 B2. Commercial users should check.

    Args:
        shape: (D,), the features of the table.
        block_dim: number B of latent dimensions of a column.
        cell_hidden: hidden units of the encoder of a cell.
        network: builds the encoder of the observed cells, the decoder and the model of the mask.
        likelihood: the columns of the table, ``MixedColumns.of(data)``.
        kl_weight: factor of the KL in the loss; 1 is the bound.
        mask: what the probability of an observed cell depends on. "latents": all latents, as
            published. "values": the value of the cell itself, which this library adds, for cells
            that are missing because of their value; the value of a missing cell is the expected
            one. The term is then above its expectation over values, because the logarithm is
            concave, so the objective is no bound. "none": the mask has no term, for cells that are
            missing completely at random.
        pseudo: "none"; "posterior": draws from decoded samples of q(z | x, m); "prior": draws from
            decoded samples of the prior. Draws have no gradient.
        pseudo_weight: factor of the term of pseudo-observations.
        attributes: number of columns of each attribute, which has one block of latents; such as
            (32, 32, 1) for two halves of an image and its label. The columns of an attribute are
            neighbours. An attribute is observed if all of its cells are. (): each column is an
            attribute.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> from mlvae import GroupedData
        >>> import pandas
        >>> frame = pandas.DataFrame({"age": [31.0, None, 52.0], "smokes": [True, False, None]})
        >>> data = GroupedData.from_frame(frame, range(3), missing="keep")
        frame: smokes: binary, true is 1, false is 0
        >>> model = VSAE(data.shape, likelihood=MixedColumns.of(data))
        >>> model(data.batch()).elbo.shape
        torch.Size([3])
    """

    Options = VSAEOptions
    missing_cells = True

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        chosen = self.options = VSAEOptions(**options)
        assert isinstance(chosen.likelihood, MixedColumns)
        self.likelihood = chosen.likelihood
        if self.shape != (self.likelihood.num_features,):
            raise InputError(
                f"shape must be ({self.likelihood.num_features},), the features of the columns of "
                f"the likelihood, not {self.shape}"
            )
        self.attributes = chosen.attributes or (1,) * len(self.likelihood.columns)
        self.latent_dim = len(self.attributes) * chosen.block_dim
        build_checked(self, chosen.network, self._build)

    def _build(self) -> None:
        chosen, columns = self.options, self.likelihood.columns
        levels = iter([column.levels for column in columns])
        widths = [sum(islice(levels, number)) for number in self.attributes]
        self.attributive = CellEncoders(widths, chosen.cell_hidden, chosen.block_dim)
        both = (self.shape[0] + len(columns),)
        self.collective = build_encoder(chosen.network, both, (self.latent_dim,))
        self.decoder = build_decoder(chosen.network, self.latent_dim, self.shape, self.likelihood)
        if chosen.mask == "latents":
            self.mask: Any = MaskOfLatents(chosen.network, self.latent_dim, len(columns))
        elif chosen.mask == "values":
            self.mask = MaskOfValues(self.likelihood)
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

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The bound of each row, from one sample of every latent.

        Args:
            batch: features, float (N, D), and ``given["observed"]``, booleans (N, C); without it
                all cells are observed. The groups are not used.
            generator: source of the noise, on the model's device; None is torch's own.
        """
        check_batch(batch, self.shape)
        x, observed = batch.x, self.observed(batch)
        latent = self.posterior(x, observed)
        z = latent.sample(generator=generator)
        parameters = self.decoder(z)
        terms = {"value_log_likelihood": self.likelihood.log_prob(parameters, x, observed)}
        if self.options.mask != "none":
            values = self._values(parameters, x, observed)
            terms["mask_log_likelihood"] = mask_log_prob(self.mask(z, values), observed)
        total = sum(terms.values(), torch.zeros(len(x), device=x.device))
        objective = self.objective(log_likelihood=total, kl=latent.kl())
        if self.training and self.options.pseudo != "none":
            pseudo = self._pseudo(parameters, z, observed, generator)
            cost = -self.options.pseudo_weight * pseudo.sum()
            objective = objective.plus(cost, {"pseudo_log_likelihood": pseudo}, {})
        bound = None if self.options.mask == "values" else objective.elbo
        return replace(
            objective, per_observation={**objective.per_observation, **terms}, elbo=bound
        )

    def observed(self, batch: Batch) -> Tensor:
        """Which cells of a batch are observed, booleans (N, C)."""
        found = batch.given.get("observed")
        if found is not None:
            self.likelihood.check_observed(found, len(batch))
        if found is None:
            columns = len(self.likelihood.columns)
            return torch.ones(len(batch), columns, dtype=torch.bool, device=batch.x.device)
        return found

    def posterior(self, x: Tensor, observed: Tensor) -> DiagonalGaussian:
        """q(z | x_O, m) (N, L) of features x (N, D); numbers in missing cells have no effect."""
        seen = self.likelihood.spread(observed)
        inputs = torch.where(seen, self.likelihood.inputs(x), torch.zeros_like(x))
        attributive = self.attributive(inputs)
        both = torch.cat((inputs, observed.to(inputs.dtype)), 1)
        (collective,) = self.collective(both)
        own = self._whole(observed)
        own = own.repeat_interleave(self.options.block_dim, 1, output_size=self.latent_dim)
        return DiagonalGaussian(
            torch.where(own, attributive.mean, collective.mean),
            torch.where(own, attributive.log_variance, collective.log_variance),
        )

    def _whole(self, observed: Tensor) -> Tensor:
        """Which attributes have all of their cells, of the mask of cells (N, C)."""
        if not self.options.attributes:
            return observed
        return torch.stack([part.all(1) for part in observed.split(self.attributes, 1)], 1)

    def _values(self, parameters: Tensor, x: Tensor, observed: Tensor) -> Tensor:
        """Standardised features (N, D), the expected ones where a cell is missing."""
        expected = self.likelihood.mean(parameters)
        seen = self.likelihood.spread(observed)
        return self.likelihood.inputs(torch.where(seen, x, expected))

    def _pseudo(
        self,
        parameters: Tensor,
        z: Tensor,
        observed: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Log-probability of drawn values of the missing cells, (N,)."""
        source = parameters
        if self.options.pseudo == "prior":
            prior = DiagonalGaussian.prior(*z.shape, like=z)
            source = self.decoder(prior.sample(generator=generator))
        drawn = self.likelihood.sample(source, generator=generator)
        return self.likelihood.log_prob(parameters, drawn, ~observed)

    def infer(self, x: Observations, observed: Any = None) -> DiagonalGaussian:
        """The posterior of each row, q(z | x_O, m): shape (N, L).

        Args:
            x: features (N, D), or :class:`~mlvae.GroupedData`, whose mask is used.
            observed: whether each cell is there, booleans (N, C); None: the mask of the data, or
                all cells.

        Raises:
            InputError: if the mask has another shape, or the features do not fit the model.
        """
        if observed is None and isinstance(x, GroupedData):
            observed = x.given.get("observed")
        length, columns = len(x.x if isinstance(x, GroupedData) else x), self.likelihood.columns
        shape = (length, len(columns))
        mask = (torch.ones(shape) if observed is None else torch.as_tensor(observed)).bool()
        if mask.shape != shape:
            raise InputError(f"observed must be booleans of shape {shape}, not {shown(observed)}")
        features = observations(x, self.shape, self, observed=mask)
        return self.posterior(features, mask.to(features.device))

    @torch.no_grad()
    def imputed(
        self, batch: Batch, *, samples: int | None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Features (N, D) with values in the missing cells of a batch.

        Args:
            batch: rows with ``given["observed"]``.
            samples: number of samples of the latents, whose expected values are averaged. None:
                one draw of the latents and of the cells.
            generator: source of the noise, on the model's device.
        """
        check_batch(batch, self.shape)
        observed = self.observed(batch)
        q = self.posterior(batch.x, observed)
        if samples is None:
            parameters = self.decoder(q.sample(generator=generator))
            values = self.likelihood.sample(parameters, generator=generator)
        else:
            values = torch.zeros_like(batch.x)
            for _ in range(samples):
                z = q.sample(generator=generator)
                values += self.likelihood.mean(self.decoder(z)) / samples
        return torch.where(self.likelihood.spread(observed), batch.x, values)

    def codes(self, batch: Batch) -> dict[str, DiagonalGaussian]:
        """The posterior "latent" of each row of a batch, (N, L)."""
        check_batch(batch, self.shape)
        return {"latent": self.posterior(batch.x, self.observed(batch))}

    def decode(self, latent: Latents) -> Tensor:
        """The expected features E[x | z] (N, D) of latents (N, L), or of posterior means."""
        z = values_of("latent", latent, self.latent_dim, self)
        return self.likelihood.mean(self.decoder(z))
