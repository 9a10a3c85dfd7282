r"""Trajectories whose transitions are rotations of a sphere, one for each action.

R. Quessard, T. Barrett, W. Clements: Learning Disentangled Representations and Group Structure of
Dynamical Environments. NeurIPS 2020, arXiv:2002.06991.

Shapes: N trajectories of T steps, so of T + 1 frames; ... one frame; n dimensions of a state;
A actions, or A numbers of a continuous action; P = n (n - 1) / 2 planes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.batch import Batch
from mlvae.errors import InputError, check_choice, check_flag, check_integer, check_number, shown
from mlvae.likelihoods import Bernoulli, Likelihood
from mlvae.models.checks import build_checked, check_batch, check_codes_batch
from mlvae.models.decoder import build_decoder
from mlvae.models.encoder import build_encoder
from mlvae.models.latents import values_of
from mlvae.models.observed import encoder_inputs
from mlvae.models.part_checks import check_parts
from mlvae.models.protocol import config_of, takes_options
from mlvae.models.rotations.actions import as_actions, check_actions, check_known, listed_actions
from mlvae.models.rotations.content import TrajectoryContent
from mlvae.models.rotations.invariant import InvariantPlanes, invariant_planes
from mlvae.models.rotations.planes import entanglement
from mlvae.models.rotations.planning import Plan, plan
from mlvae.models.rotations.structure import Structure, structure
from mlvae.models.rotations.transitions import TRANSITIONS, Turns
from mlvae.models.summary import summary
from mlvae.networks import MLP, Network
from mlvae.objectives import Objective
from mlvae.observations import as_observations, as_tensor, check_shape
from mlvae.posteriors import DiagonalGaussian, Family, Point

__all__ = ["Rotations", "RotationsOptions"]


@dataclass(frozen=True)
class RotationsOptions:
    """Options of :class:`Rotations`."""

    latent_dim: int = 4
    actions: int = 4
    continuous: bool = False
    transition: str = "rotation"
    width: int = 64
    content_dim: int = 0
    network: Network = MLP(hidden=(64,))
    likelihood: Likelihood = Bernoulli()
    entanglement_weight: float = 1e-2
    consistency_weight: float = 0.0
    content_kl_weight: float = 1.0

    def __post_init__(self) -> None:
        check_parts(self.network, self.likelihood)
        check_integer("latent_dim", self.latent_dim, minimum=2)
        check_integer("actions", self.actions, minimum=1)
        check_flag("continuous", self.continuous)
        check_choice("transition", self.transition, TRANSITIONS)
        check_integer("width", self.width, minimum=1)
        check_number("entanglement_weight", self.entanglement_weight, minimum=0)
        check_number("consistency_weight", self.consistency_weight, minimum=0)
        check_integer("content_dim", self.content_dim, minimum=0)
        check_number("content_kl_weight", self.content_kl_weight, minimum=0)


@takes_options(RotationsOptions)
class Rotations(nn.Module):
    r"""States on a sphere, which each action turns by a rotation of its own.

    The first frame of a trajectory is encoded to a unit vector of n dimensions. All further states
    are predicted: each action multiplies the state by its rotation. Every state is decoded:

    .. math:: z_0 = f(x_0) / \lVert f(x_0) \rVert, \qquad z_{t+1} = g_{a_t} z_t, \qquad
        g_a = \prod_{i < j} R_{ij}(\theta^a_{ij})

    The loss is the mean over the trajectories of

    .. math:: -\frac{1}{T E} \sum_{t=0}^{T} \log p(x_t \mid z_t)
        + \frac{\lambda}{A} \sum_a \Bigl( \sum_{ij} (\theta^a_{ij})^2
        - \max_{ij} (\theta^a_{ij})^2 \Bigr)

    with E elements of a frame, as in the authors' code: it divides by T, although it sums T + 1
    frames. The second sum is the entanglement. It is small if each action turns one plane. States
    have no posterior, so the model has no bound on log p(x).

    An observation is a whole trajectory (T + 1, ...). Its actions are ``batch.given["action"]``:
    integers (N, T) from 0, or numbers (N, T, A) with ``continuous``. The groups are not used.

    Args:
        shape: shape of one trajectory, (T + 1, ...): frames of (features,) or of (channels,
            height, width).
        latent_dim: number n of dimensions of a state. A product of k independent circles needs
            2 k.
        actions: number A of discrete actions, or of the numbers of a continuous one.
        continuous: whether an action is A numbers. A network with ``width`` units then computes
            the angles of an action.
        transition: "rotation"; or another map of each action, to compare with: "matrix", any n x n
            matrix; "network", a network with ``width`` units. These have no entanglement.
        width: units of the hidden layer of such networks.
        content_dim: number C of dimensions of a content, which all frames of a trajectory share;
            0: no content. The content is that of the Multi-Level VAE, accumulated over the frames
            (:class:`~mlvae.models.rotations.content.TrajectoryContent`), and the decoder receives
            it beside the state. The codes are then "content" and "style", the states. The loss has
            the term KL(q(c | x) || p(c)) / (T E).
        network: builds the encoder and the decoder of a frame.
        likelihood: the observation model of a frame, p(x_t | z_t).
        entanglement_weight: :math:`\lambda`.
        consistency_weight: weight of a further term of the loss, the mean over steps of the
            squared distance of a predicted state from the encoded one,
            :math:`\frac1T \sum_{t=1}^T \lVert z_t - f(x_t) / \lVert f(x_t) \rVert \rVert^2` (H.
            Keurti et al.: Homomorphism Autoencoder. ICML 2023, arXiv:2207.12067). Each frame then
            has one state, whatever actions led to it. With more dimensions than the group needs,
            actions can otherwise lead to other states of the same frame. 0: the published loss,
            which encodes the first frame alone.
        content_kl_weight: factor of the KL of the content.

    Attributes:
        entanglement_scale: a further factor of :math:`\lambda` in training mode, shape (). A
            warm-up moves it from 0 to 1.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> model = Rotations((6, 25), actions=4)
        >>> frames, actions = torch.rand(3, 25), torch.tensor([[0, 2]] * 3)
        >>> model.rollout(frames, actions).shape
        torch.Size([3, 3, 25])
    """

    Options = RotationsOptions
    options: RotationsOptions
    needs = frozenset({"action"})
    entanglement_scale: Tensor

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        if len(self.shape) < 2 or self.shape[0] < 2:
            raise InputError(
                "shape must be that of a trajectory of two frames or more, (frames, ...), as "
                f"(6, 25) or (6, 1, 28, 28), not {self.shape}"
            )
        self.frame = self.shape[1:]
        self.options = self.Options(**options)
        self.latent_dim, self.likelihood = self.options.latent_dim, self.options.likelihood
        build_checked(self, self.options.network, self._build)
        self.register_buffer("entanglement_scale", torch.ones(()), persistent=False)

    def _build(self) -> None:
        chosen = self.options
        self.encoder = build_encoder(chosen.network, self.frame, (chosen.latent_dim,), Point)
        self.transition = TRANSITIONS[chosen.transition](
            chosen.latent_dim, chosen.actions, continuous=chosen.continuous, width=chosen.width
        )
        self.content = None
        if chosen.content_dim:
            self.content = TrajectoryContent(
                chosen.network, self.frame, chosen.content_dim, chosen.likelihood
            )
        self.decoder = build_decoder(
            chosen.network,
            chosen.latent_dim + chosen.content_dim,
            self.frame,
            chosen.likelihood,
        )

    def __repr__(self) -> str:
        return summary(self)

    @property
    def config(self) -> dict[str, Any]:
        """All options as plain values, for :func:`mlvae.models.build`."""
        return config_of(self, self.options)

    @property
    def scales(self) -> dict[str, Tensor]:
        """The factors of the objective that a warm-up sets."""
        return {"entanglement_scale": self.entanglement_scale}

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The loss of each trajectory: log-probabilities of its frames, and the entanglement.

        Args:
            batch: trajectories, float (N, T + 1, ...) on the model's device, with ``action``. Any
                T of at least 1. The groups are not used.
            generator: source of the noise of the content; a model without content draws no random
                number.
        """
        x, actions = self._checked(batch)
        number, frames = x.shape[:2]
        states, kl = self.path(self._encoded(x[:, 0]), actions), None
        decoded = states
        if self.content is not None:
            content = self.content(x, generator=generator)
            drawn = content.sample((frames,), generator=generator).transpose(0, 1)
            decoded, kl = torch.cat((states, drawn), 2), content.kl()
        log_prob = self.log_prob(x, decoded)
        cost = -log_prob.sum()
        if kl is not None:
            cost = cost + self.options.content_kl_weight * kl.sum()
        loss = cost / (number * (frames - 1) * math.prod(self.frame))
        terms = {
            "reconstruction_log_likelihood": log_prob[:, 0],
            "prediction_log_likelihood": log_prob[:, 1:].sum(1),
        }
        if kl is not None:
            terms["content_kl"] = kl
        if self.options.consistency_weight:
            encoded = self._encoded(x[:, 1:].flatten(0, 1)).unflatten(0, (number, frames - 1))
            terms["inconsistency"] = (states[:, 1:] - encoded).square().sum(2).mean(1)
            loss = loss + self.options.consistency_weight * terms["inconsistency"].mean()
        scalars = {}
        if isinstance(self.transition, Turns):
            mixed = entanglement(self._angles(actions))
            weight = self.options.entanglement_weight
            loss = loss + weight * (self.entanglement_scale if self.training else 1.0) * mixed
            scalars = {"entanglement": mixed}
        return Objective(
            losses={"model": loss},
            per_observation=terms,
            scalars=scalars,
            num_observations=number,
        )

    def codes(self, batch: Batch) -> dict[str, Family]:
        """The code "latent" of each trajectory: its T + 1 predicted states side by side.

        Each row is (T + 1) * n numbers. Only the first frame and the actions have an effect. A
        model with content has the codes "content", from all frames of the trajectory, and "style",
        the states.
        """
        check_codes_batch(batch)
        x, actions = self._checked(batch)
        states = Point(self.path(self._encoded(x[:, 0]), actions).flatten(1))
        if self.content is None:
            return {"latent": states}
        return {"content": self.content(x), "style": states}

    def decode(self, latent: Any = None, *, content: Any = None, style: Any = None) -> Tensor:
        """The expected trajectories (N, T + 1, ...) of codes.

        Args:
            latent: states side by side, (N, (T + 1) * n), or a posterior; of a model without
                content.
            content: (N, C), or a posterior; of a model with content.
            style: states side by side, likewise.
        """
        steps, name = self.shape[0], "latent" if self.content is None else "style"
        given = latent if self.content is None else style
        states = values_of(name, given, steps * self.latent_dim, self)
        states = states.unflatten(1, (steps, self.latent_dim))
        if self.content is not None:
            shared = values_of("content", content, self.options.content_dim, self)
            states = torch.cat((states, shared[:, None].expand(-1, steps, -1)), 2)
        return self.frames(states)

    def _encoded(self, x: Tensor) -> Tensor:
        """The unit vectors (N, n) of frames x (N, ...)."""
        (state,) = self.encoder(encoder_inputs(self.likelihood, x))
        return functional.normalize(state.mean, dim=-1)

    def encode(self, x: Tensor, content_of: Tensor | None = None) -> Tensor:
        """The states of frames x (N, ...), floats on the model's device: unit vectors (N, n).

        With content, a state is (N, n + C): the unit vector, and the mean of the content of the
        frame itself, or of the trajectories ``content_of`` (N, K, ...).
        """
        state = self._encoded(x)
        if self.content is None:
            return state
        shown = x[:, None] if content_of is None else content_of
        return torch.cat((state, self.content(shown).mean), 1)

    def infer_content(self, x: Any) -> DiagonalGaussian:
        """The content posterior (N, C) of trajectories x (N, K, ...) of any number of frames.

        Raises:
            InputError: if the model has no content.
        """
        if self.content is None:
            raise InputError("a model of content_dim=0 has no content; set content_dim")
        x = as_tensor(x)
        if x.ndim < 2 or not x.shape[1]:
            raise InputError(
                "x must be trajectories (N, K, ...) of at least one frame, whose frames have the "
                f"shape {self.frame}, not {shown(x)}"
            )
        frames = as_observations(x.flatten(0, 1), self.frame, self)
        return self.content(frames.unflatten(0, x.shape[:2]))

    def path(self, states: Tensor, actions: Tensor) -> Tensor:
        """The states after each action. The content, if there is one, stays.

        Args:
            states: first states, (N, n); with content (N, n + C).
            actions: integers (N, T), or floats (N, T, A) of a continuous action.

        Returns:
            (N, T + 1, n), or (N, T + 1, n + C), the first states included.
        """
        turned = self.transition.path(states[:, : self.latent_dim], actions)
        content = states[:, None, self.latent_dim :]
        return torch.cat((turned, content.expand(-1, turned.shape[1], -1)), 2)

    def frames(self, states: Tensor) -> Tensor:
        """The expected frames (N, T, ...) of states (N, T, n)."""
        means = self.likelihood.mean(self.decoder(states.flatten(0, 1)))
        return means.unflatten(0, states.shape[:2])

    def log_prob(self, x: Tensor, states: Tensor) -> Tensor:
        """Return log p(x_t | z_t) in nats, (N, T), of frames x (N, T, ...) at states (N, T, n)."""
        parameters = self.decoder(states.flatten(0, 1))
        return self.likelihood.log_prob(parameters, x.flatten(0, 1)).view(x.shape[:2])

    @torch.no_grad()
    def rollout(self, x: Any, actions: Any, *, content_of: Any = None) -> Tensor:
        """The expected frames of sequences of actions of any length.

        Args:
            x: first frames (N, ...): uint8 images or floats.
            actions: integers (N, T), or numbers (N, T, A) of a continuous action.
            content_of: for a model with content, trajectories (N, K, ...) whose content the frames
                have; None: that of the first frames.

        Returns:
            (N, T + 1, ...), the reconstruction of the first frames included.

        Raises:
            InputError: if frames or actions have another shape, or an action is unknown.
        """
        x = as_observations(x, self.frame, self)
        states = self.encode(x)
        if content_of is not None:
            shared = self.infer_content(content_of).mean
            if len(shared) != len(x):
                raise InputError(
                    f"content_of must have a trajectory for each of {len(x)} first frames, not "
                    f"{len(shared)}"
                )
            states = torch.cat((states[:, : self.latent_dim], shared), 1)
        return self.frames(self.path(states, self.actions_of(actions, len(x))))

    @torch.no_grad()
    def angles(self, actions: Any = None) -> Tensor:
        """The angle of each action in each plane, in radians, (A, P).

        Args:
            actions: discrete actions (A',), or continuous ones (A', A), which have (A', P) angles;
                None: all discrete actions.

        Raises:
            InputError: if the transitions are no rotations, an action is unknown, or continuous
                actions are left out.
        """
        return self._turns().parameters_of(self._listed(actions)).detach().clone()

    @torch.no_grad()
    def matrices(self, actions: Any = None) -> Tensor:
        """The matrix of each action, (A, n, n); ``actions`` as in :meth:`angles`.

        Raises:
            InputError: if the transitions are networks, or an action is unknown.
        """
        if self.options.transition == "network":
            raise InputError("transition=network has no matrices; use transition=rotation")
        return self.transition.matrices(self._listed(actions))  # pyright: ignore

    def structure(self, actions: Any = None) -> Structure:
        """The planes, angles and periods of the actions; ``actions`` as in :meth:`angles`."""
        return structure(self.angles(actions), self.matrices(actions))

    @torch.no_grad()
    def invariant_planes(self, x: Any, actions: Any = None) -> InvariantPlanes:
        """The planes that commuting actions turn, found in the states of frames x (N, ...).

        The planes need not be those of two axes, so no penalty of the entanglement is needed; see
        :func:`~mlvae.models.rotations.invariant.invariant_planes`.

        Args:
            x: frames (N, ...), uint8 images or floats: many different ones.
            actions: as in :meth:`angles`.
        """
        self._turns()
        states = self._encoded(as_observations(x, self.frame, self))
        return invariant_planes(self.matrices(actions), states)

    def plan(self, x: Any, goal: Any, *, most_steps: int = 10, tolerance: float = 0.1) -> Plan:
        """The shortest sequences of discrete actions from frames to goals.

        See :func:`mlvae.models.rotations.planning.plan`: the actions must commute.

        Args:
            x: first frames (N, ...): uint8 images or floats.
            goal: frames to reach, (N, ...).
            most_steps: largest number of actions.
            tolerance: distance of the reached state from the state of the goal that is enough.

        Raises:
            InputError: if actions are continuous or do not commute, there are too many sequences,
                or the frames have another shape.
        """
        if self.options.continuous:
            raise InputError("a plan needs discrete actions, but the model has continuous=true")
        start, end = (
            self._encoded(as_observations(frames, self.frame, self)).detach()
            for frames in (x, goal)
        )
        if len(start) != len(end):
            raise InputError(
                f"goal must have a frame for each of the {len(start)} frames x, not {len(end)}; "
                "repeat a goal that several have"
            )
        return plan(self.matrices(), start, end, most_steps=most_steps, tolerance=tolerance)

    def actions_of(self, actions: Any, number: int) -> Tensor:
        """Actions (N, T) or (N, T, A) on the model's device.

        Args:
            actions: a tensor, an array, a table or a list.
            number: N.

        Raises:
            InputError: if they have another type or shape, or an action is unknown or not finite.
        """
        return as_actions(actions, self.options, number, next(self.parameters()).device)

    def _checked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The trajectories of a batch and their actions."""
        check_batch(batch, (batch.x.shape[1], *self.frame))
        actions = batch.given.get("action")
        if actions is None:
            raise InputError(
                "a batch must have the actions of its trajectories, given={'action': ...}, but "
                f"has {', '.join(batch.given) or 'no given values'}"
            )
        check_actions(actions, self.options, len(batch), batch.x.shape[1] - 1)
        if batch.x.shape[1] < 2:
            raise InputError(
                "a batch must have trajectories of two frames or more, (N, T + 1, ...), not "
                f"{tuple(batch.x.shape)}"
            )
        if actions.device.type == "cpu" and not torch.compiler.is_compiling():  # no wait for a GPU
            check_known(actions, self.options)
        actions = actions.to(batch.x.dtype) if self.options.continuous else actions.long()
        return batch.x, actions

    def check_given(self, given: Mapping[str, Tensor]) -> None:
        """Raise :class:`InputError` unless the model knows all actions of the training data."""
        self.actions_of(given["action"], len(given["action"]))

    def _turns(self) -> Turns:
        if not isinstance(self.transition, Turns):
            raise InputError(
                f"transition={self.options.transition} has no angles; use transition=rotation"
            )
        return self.transition

    def _angles(self, actions: Tensor) -> Tensor:
        """Angles (A, P): of all discrete actions, or of the continuous ones (..., A)."""
        if self.transition.network is None:
            return self.transition.table
        return self.transition.parameters_of(actions).flatten(0, -2)

    def _listed(self, actions: Any) -> Tensor:
        """The given actions, (A',) or (A', A) of continuous ones; None: all discrete ones (A,)."""
        return listed_actions(actions, self.options, next(self.parameters()).device)
