"""The VAE that is told the group of every observation: the ceiling of what grouping can give.

Shapes: N observations, G groups of a batch, L groups of the data, C content and S style
dimensions, ... one observation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.errors import InputError, check_integer
from mlvae.gaussian import DiagonalGaussian
from mlvae.groups import Groups
from mlvae.likelihoods import Bernoulli, Likelihood
from mlvae.models.decoder import build_decoder, check_parts
from mlvae.models.latents import side_by_side
from mlvae.networks import MLP, Network
from mlvae.objectives import GroupELBO, Objective
from mlvae.observations import as_observations, check_shape
from mlvae.origin import Origin
from mlvae.parts import to_config

__all__ = ["ConditionalVAE", "told_groups"]


class ConditionalVAE(nn.Module):
    r"""Content looked up by the label of the group, style inferred given it.

    .. math:: \log p(x_i \mid y) \ge \mathbb E_{q(s_i \mid x_i, y)}[\log p(x_i \mid c_y, s_i)]
        - \mathrm{KL}(q(s_i \mid x_i, y) \,\|\, p(s))

    with a learned vector :math:`c_y` (C,) for each label y. It is the M2 of D. P. Kingma,
    D. J. Rezende, S. Mohamed, M. Welling: Semi-Supervised Learning with Deep Generative Models,
    NeurIPS 2014, arXiv:1406.5298 (Eq. 6, without the constant log p(y)), with all labels observed;
    and a conditional VAE (K. Sohn, H. Lee, X. Yan: Learning Structured Output Representation using
    Deep Conditional Generative Models, NeurIPS 2015) whose prior of the latents does not depend on
    the condition.

    It is a ceiling, not a rival, of :class:`~mlvae.models.MLVAE`: the label is given with every
    observation, in evaluation too, and it has nothing to say of groups that it was not trained on.
    Its content KL is 0, as there is nothing to infer. Its bound is on :math:`\log p(x_G \mid y)`,
    while the MLVAE's, on :math:`\log p(x_G)`, also pays for what the content is.

    Args:
        shape: shape of one observation; images (channels, height, width).
        group_names: label of each group, length L, as ``data.group_names`` of the training data.
        content_dim: C.
        style_dim: S.
        network: builds the encoder and the decoder.
        likelihood: the observation model p(x | c, s).
        style_kl_weight: factor of the style KL in the loss; 1 is the bound.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> from mlvae.data import GroupedData
        >>> data = GroupedData(torch.rand(6, 1, 8, 8), ["ann", "bob", "ann", "ann", "bob", "bob"])
        >>> model = ConditionalVAE((1, 8, 8), group_names=data.group_names)
        >>> model(data.batch()).elbo.shape
        torch.Size([2])
        >>> model.swap(content_of=data.singles([0, 2]), style_of=data.singles([1, 4])).shape
        torch.Size([2, 1, 8, 8])
    """

    OPTIONS = (
        "group_names",
        "content_dim",
        "style_dim",
        "network",
        "likelihood",
        "style_kl_weight",
    )

    def __init__(
        self,
        shape: Sequence[int],
        *,
        group_names: Sequence[object],
        content_dim: int = 10,
        style_dim: int = 10,
        network: Network = MLP(),  # noqa: B008 (frozen)
        likelihood: Likelihood = Bernoulli(),  # noqa: B008 (frozen)
        style_kl_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        check_parts(network, likelihood)
        check_integer("content_dim", content_dim, minimum=1)
        check_integer("style_dim", style_dim, minimum=1)
        self.group_names = _checked_names(group_names)
        self.content_dim = content_dim
        self.style_dim = style_dim
        self.network = network
        self.likelihood = likelihood
        self.content = nn.Embedding(len(self.group_names), content_dim)
        self.encoder = network.conditional_encoder(self.shape, style_dim, content_dim)
        self.decoder = build_decoder(network, content_dim + style_dim, self.shape, likelihood)
        self.objective = GroupELBO(style_kl_weight=style_kl_weight)
        # Kept, as a CUDA graph that has read a table reads it again where it was.
        self._tables: dict[int, tuple[list, Tensor]] = {}

    @property
    def config(self) -> dict[str, object]:
        """Everything but the shape that :func:`mlvae.models.build` needs to build it again."""
        return {
            "name": type(self).__name__,
            "group_names": list(self.group_names),
            "content_dim": self.content_dim,
            "style_dim": self.style_dim,
            "network": to_config(self.network),
            "likelihood": to_config(self.likelihood),
            "style_kl_weight": self.objective.style_kl_weight,
        }

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The bound of each group of a batch given its label, from one draw of every style.

        Args:
            batch: observations, float (N, ...) on the model's device, and their groups, which
                know where they come from: of :class:`~mlvae.data.GroupedData`.
            generator: source of the noise, on the model's device; None is torch's own.

        Raises:
            InputError: if the groups are not known, or of data with others than those in training.
        """
        x, groups = batch
        c = groups.spread(self.infer_content(batch))
        style = self.encoder(x, c)
        s = style.sample(generator=generator)
        parameters = self.decoder(torch.cat((c, s), 1))
        return self.objective(
            log_likelihood=self.likelihood.log_prob(parameters, x),
            style_kl=style.kl(),
            content_kl=s.new_zeros(groups.num_groups),
            groups=groups,
        )

    def infer_content(self, batch: Batch) -> Tensor:
        """The content of each group of a batch, looked up by its label: (G, C)."""
        return self.content(self._number(batch.groups))

    def infer_style(self, batch: Batch) -> DiagonalGaussian:
        """The style posterior of each observation of a batch, q(s | x_i, y): shape (N, S)."""
        x = as_observations(batch.x, self.shape, self)
        return self.encoder(x, batch.groups.spread(self.infer_content(batch)))

    def decode(self, content: Tensor, style: Tensor | DiagonalGaussian) -> Tensor:
        """The expected observation E[x | c, s]: shape (N, ...).

        Args:
            content: values (N, C).
            style: values (N, S), or a posterior, whose mean is taken. Either may have one row,
                which then goes with every row of the other.
        """
        return self.likelihood.mean(self.decoder(side_by_side(self, content, style)))

    @torch.no_grad()
    def swap(self, content_of: Batch, style_of: Batch) -> Tensor:
        """Each of ``style_of`` with the label of its pair in ``content_of``, in place of its own.

        The style is inferred given its own label; posterior means are decoded.
        """
        content = content_of.groups.spread(self.infer_content(content_of))
        return self.decode(content, self.infer_style(style_of))

    def reconstruct(self, batch: Batch) -> Tensor:
        """The observations of a batch encoded and decoded, by posterior means: (N, ...)."""
        return self.swap(batch, batch)

    def check_groups(self, names: Sequence[object]) -> None:
        """Raise :class:`InputError` for data with a group that the model was not trained on."""
        known = set(self.group_names)
        if unknown := [name for name in names if name not in known]:
            raise InputError(
                "a ConditionalVAE is told the groups, so it knows only those it was trained on: "
                f"{unknown[0]!r} is none of its {len(known)}; leave out observations of other "
                "groups, or use MLVAE"
            )

    def _number(self, groups: Groups) -> Tensor:
        """The number of each group's label among the model's own, (G,), without waiting."""
        origin = groups.origin
        if origin is None:
            raise InputError(
                "a ConditionalVAE must be told which groups these are; take batches from "
                "mlvae.data.Shuffled, Grouped, GroupedData.batch or GroupedData.singles"
            )
        names, table = self._tables.get(id(origin.names), (None, None))
        if names is not origin.names or table.device != origin.number.device:
            table = self._table(origin)
            self._tables[id(origin.names)] = origin.names, table
        return table[origin.number]

    def _table(self, origin: Origin) -> Tensor:
        """The model's number of each label of the data, (labels of the data,)."""
        self.check_groups(origin.names)
        own = {name: number for number, name in enumerate(self.group_names)}
        return torch.tensor([own[name] for name in origin.names], device=origin.number.device)


def _checked_names(names: object) -> list:
    """The labels as a list, or :class:`InputError`."""
    names = None if names is None or isinstance(names, str) else list(names)
    if not names or len(set(names)) < len(names):
        what = "names that occur twice" if names else repr(names)
        raise InputError(
            "model.group_names must be the different labels of the training data, as "
            f"data.group_names, not {what}"
        )
    return names


def told_groups(model: nn.Module) -> bool:
    """Whether ``model`` is told the groups of what it encodes, and so knows no others.

    Such a model says which it knows by ``check_groups(group_names)``.
    """
    return hasattr(model, "check_groups")
