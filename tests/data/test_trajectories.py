"""Environments with a known group: truth, frames, splits."""

import inspect
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mlvae.data import Episodes, GroupedData, open_dataset
from mlvae.data.sources.flatland import Flatland
from mlvae.data.sources.moving_sprites import MovingSprites
from mlvae.data.sources.sphere import Sphere
from mlvae.data.sources.torus import Torus
from mlvae.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs" / "dataset"
NAMES = ("flatland", "moving_sprites", "sphere", "torus")
SMALL = {"trajectories": 40, "validation": 10, "test": 20, "episodes": 3, "length": 8}
IDENTITIES = np.array([[0, 5, 3], [2, 1, 20], [1, 3, 7]])
ENVIRONMENTS = {
    "torus": Torus((3, 4)),
    "torus of three": Torus((2, 3, 5)),
    "torus, images": Torus((3, 4), True, 2),
    "flatland": Flatland(size=16),
    "flatland in colours": Flatland(period=4, colours=3, size=16),
    "sphere": Sphere(size=6),
    "moving sprites": MovingSprites(IDENTITIES, 4, 16),
}

every_environment = pytest.mark.parametrize("name", ENVIRONMENTS)


def after(environment, states, *actions):
    """The frames of states (N, S) after actions one after the other."""
    truth = environment.truth
    listed = torch.tensor(actions, dtype=torch.int64).expand(len(states), len(actions))
    if truth.actions is not None:
        listed = truth.actions[listed]
    return environment.draw(environment.path(states, listed)[:, -1]).float()


def start(environment):
    return environment.start(12, np.random.default_rng(0))


def assert_equal_frames(first, second):
    """Frames may differ by a grey level, of places that differ in the last digit."""
    tolerance = 1.0 if first.max() > 1 else 1e-4
    torch.testing.assert_close(first, second, rtol=0, atol=tolerance)


# The truth of an environment holds in its frames


@every_environment
def test_a_period_leads_back_and_no_smaller_number_does(name):
    environment = ENVIRONMENTS[name]
    states = start(environment)
    frames = environment.draw(states).float()
    for action, period in enumerate(environment.truth.periods):
        assert_equal_frames(after(environment, states, *[action] * period), frames)
        for number in range(1, period):
            assert (after(environment, states, *[action] * number) - frames).abs().max() > 0.1


@every_environment
def test_inverse_actions_undo_each_other(name):
    environment = ENVIRONMENTS[name]
    states = start(environment)
    for first, second in environment.truth.inverses:
        assert_equal_frames(
            after(environment, states, first, second), environment.draw(states).float()
        )


@every_environment
def test_exactly_the_commuting_actions_commute(name):
    environment = ENVIRONMENTS[name]
    states, truth = start(environment), environment.truth
    for first in range(len(truth.names)):
        for second in range(first + 1, len(truth.names)):
            one = after(environment, states, first, second)
            other = after(environment, states, second, first)
            if (first, second) in truth.commuting:
                assert_equal_frames(one, other)
            else:
                assert (one - other).abs().max() > 0.1


def test_a_cell_of_the_torus_is_the_one_that_the_names_of_actions_say():
    environment = Torus((3, 4))
    assert environment.truth.names == ("+1", "-1", "+2", "-2")
    path = environment.path(torch.tensor([[2, 3]]), torch.tensor([[0, 2, 2, 1]]))
    assert path.tolist() == [[[2, 3], [0, 3], [0, 0], [0, 1], [2, 1]]]
    assert environment.draw(path[0]).argmax(1).tolist() == [11, 3, 0, 1, 9]
    image = Torus((3, 4), True, 2).draw(torch.tensor([[2, 3]]))
    assert image.shape == (1, 1, 6, 8) and image[0, 0].nonzero().tolist() == [
        [4, 6],
        [4, 7],
        [5, 6],
        [5, 7],
    ]


def test_the_ball_of_flatland_has_its_area_and_middle_everywhere():
    environment = Flatland(size=40, radius=0.2)
    states = torch.tensor([[0.5, 0.5], [0.0, 0.3], [0.93, 0.97]], dtype=torch.float64)
    images = environment.draw(states)[:, 0].double() / 255
    assert images.sum((1, 2)) == pytest.approx(math.pi * 8**2, rel=0.02)
    ticks = 2 * math.pi * (torch.arange(40) + 0.5) / 40
    for axis in (0, 1):
        mass = images.sum(axis + 1)
        middle = torch.atan2(mass @ ticks.sin().double(), mass @ ticks.cos().double())
        turned = (middle / (2 * math.pi) - states[:, axis] + 0.5) % 1 - 0.5
        assert turned.abs().max() < 1e-3


def test_the_colours_of_flatland_are_different():
    images = Flatland(colours=5, size=16).draw(
        torch.tensor([[0.5, 0.5, colour] for colour in range(5)], dtype=torch.float64)
    )
    assert len(images.flatten(1).unique(dim=0)) == 5


def test_a_state_of_the_sphere_keeps_its_length_under_turns():
    environment = Sphere()
    generator = np.random.default_rng(1)
    actions = environment.choose(20, 30, generator)
    assert ((actions != 0).sum(2) == 1).all() and actions.abs().max() <= environment.turn
    path = environment.path(environment.start(20, generator), actions)
    torch.testing.assert_close(path.norm(dim=2), torch.ones(20, 31, dtype=torch.float64))


def test_a_turn_about_z_goes_from_x_to_y():
    quarter = torch.tensor([[[0.0, 0.0, math.pi / 2]]])
    path = Sphere().path(torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64), quarter)
    expected = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(path[0, 1], expected, rtol=0, atol=1e-6)


def test_a_sprite_keeps_its_identity_and_its_pixels():
    environment = MovingSprites(IDENTITIES, 8, 32)
    states = start(environment)
    actions = environment.choose(12, 6, np.random.default_rng(2))
    path = environment.path(states, actions)
    assert (path[:, :, 0] == states[:, :1]).all()
    frames = environment.draw(path.flatten(0, 1)).unflatten(0, path.shape[:2])
    mass = frames.long().flatten(2).sum(2)
    assert (mass == mass[:, :1]).all()


# Splits


@pytest.mark.parametrize("name", NAMES)
def test_the_config_has_the_defaults_of_the_function(name):
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert config.pop("name") == name
    function = getattr(__import__("mlvae").data, name)
    defaults = {key: p.default for key, p in inspect.signature(function).parameters.items()}
    assert {key: tuple(v) if isinstance(v, list) else v for key, v in config.items()} == defaults


@pytest.mark.parametrize("name", NAMES)
def test_splits_have_trajectories_actions_and_episodes(name):
    splits = open_dataset(name, **SMALL, steps=4)
    for _, data in splits:
        assert data.shape[0] == 5
        assert data.given["action"].shape[:2] == (len(data), 4)
    assert splits.test.episodes.action.shape[:2] == (3, 8)
    assert splits.test.episodes.x.shape[:2] == (3, 9)
    assert splits.test.episodes.truth is not None and splits.train.episodes is None
    assert splits.test.to("cpu").subset([0]).episodes is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_determines_the_draws_and_the_size_of_a_split_changes_no_other(name):
    first = open_dataset(name, **SMALL)
    again = open_dataset(name, **{**SMALL, "trajectories": 30})
    other = open_dataset(name, **SMALL, seed=1)
    assert torch.equal(first.test.given["action"], again.test.given["action"])
    assert torch.equal(first.test.x, again.test.x)
    assert torch.equal(first.test.episodes.x, again.test.episodes.x)
    assert not torch.equal(first.train.given["action"], other.train.given["action"])


def test_unseen_identities_are_in_no_other_split():
    splits = open_dataset("moving_sprites", **SMALL, identities=6, unseen=2, size=16)
    unseen = set(splits.unseen.group_names)
    assert len(unseen) == 2
    for data in (splits.train, splits.validation, splits.test):
        assert unseen.isdisjoint(data.group_names)
    named = zip(splits.train.labels, splits.train.factors["scale"].tolist(), strict=True)
    assert all(label.split("-")[1] == str(int(scale)) for label, scale in named)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("torus", {"size": 5}, "dataset.size"),
        ("torus", {"size": [1, 5]}, "dataset.size"),
        ("torus", {"size": [2, 2, 2], "image": True}, "dataset.image"),
        ("torus", {"trajectories": 0}, "dataset.trajectories"),
        ("torus", {"steps": 0}, "dataset.steps"),
        ("torus", {"seed": -1}, "dataset.seed"),
        ("flatland", {"colours": 1}, "dataset.colours"),
        ("flatland", {"period": 1}, "dataset.period"),
        ("flatland", {"radius": 0.7}, "dataset.radius"),
        ("sphere", {"turn": 0}, "dataset.turn"),
        ("moving_sprites", {"period": 7}, "dataset.period"),
        ("moving_sprites", {"unseen": 60}, "dataset.unseen"),
    ],
)
def test_an_option_out_of_range_is_refused_by_its_name(name, options, match):
    with pytest.raises(InputError, match=match):
        open_dataset(name, **options)


def test_episodes_must_fit_their_actions_and_the_data():
    with pytest.raises(InputError, match="L \\+ 1"):
        Episodes(torch.zeros(3, 8, 2), torch.zeros(3, 8))
    data = GroupedData(torch.zeros(4, 3, 5), [0] * 4)
    with pytest.raises(InputError, match=r"\(5,\)"):
        data.with_episodes(Episodes(torch.zeros(3, 8, 2), torch.zeros(3, 7)))
