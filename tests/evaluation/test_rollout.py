"""The question rollout: errors, the group of the actions, films."""

import io
import math

import pytest
import torch
from PIL import Image

from mlvae import GroupedData, InputError
from mlvae.data import Episodes, Splits, flatland, torus
from mlvae.evaluation import Rollout, evaluate, save_film
from mlvae.evaluation.films import film, film_figure
from mlvae.evaluation.measures.rollouts import floor, group_errors, horizons_of, rollout_errors
from mlvae.likelihoods import Bernoulli, Gaussian
from mlvae.models import MLVAE, VAE, Rotations
from mlvae.models.rotations import rotation_matrices
from mlvae.networks import MLP

SMALL = {"trajectories": 30, "validation": 0, "test": 10, "episodes": 4, "length": 12}


def exact(size):
    """A linear model of a torus of two directions that is right: one plane for each direction."""
    model = Rotations((6, size[0] * size[1]), network=MLP(hidden=()))
    first, second = torch.cartesian_prod(torch.arange(size[0]), torch.arange(size[1])).unbind(1)
    one, other = 2 * math.pi * first / size[0], 2 * math.pi * second / size[1]
    states = torch.stack((one.cos(), one.sin(), other.cos(), other.sin()), 1) / 2**0.5
    nearest = (states @ states.T - 2 * torch.eye(len(states))).max()
    with torch.no_grad():
        model.encoder.heads.weight.copy_(states.T)
        model.encoder.heads.bias.zero_()
        model.decoder.head.weight.copy_(200 * states)
        model.decoder.head.bias.fill_(-100 * float(1 + nearest))
        model.transition.table.zero_()
        for action, turn in enumerate((1 / size[0], -1 / size[0], 1 / size[1], -1 / size[1])):
            model.transition.table[action, 0 if action < 2 else 5] = 2 * math.pi * turn
    return model.eval()


def test_a_model_that_knows_the_group_has_no_error_and_a_copy_has():
    episodes = torus(size=(3, 4), **SMALL).test.episodes
    for record in rollout_errors(exact((3, 4)), episodes, [1, 5, 12]):
        assert record["accuracy"].mean == 1 and record["squared_error"].mean < 1e-8
        assert 0 <= record["excess"].mean < 1e-4
    x = episodes.floats()
    for record in rollout_errors(exact((3, 4)), episodes, [1, 5, 12], copy=True):
        same = (x[:, record["steps"]] == x[:, 0]).all(1).float()
        assert record["accuracy"].mean == pytest.approx(float(same.mean()))
        # A wrong frame differs in two of twelve elements.
        assert record["squared_error"].mean == pytest.approx(
            float((1 - same).mean()) * 2 / 12, abs=1e-6
        )


def test_the_floor_of_grey_values_is_their_entropy():
    x = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 3)
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / 3
    assert float(floor(Bernoulli(), x)) == pytest.approx(entropy)
    logits = torch.logit(x, eps=1e-6).view(1, 1, 3)
    assert -float(Bernoulli().log_prob(logits, x[0])) / 3 == pytest.approx(entropy, abs=1e-5)
    assert floor(Gaussian(0.5), x) is None


def test_horizons_beyond_the_episodes_are_left_out():
    episodes = Episodes(torch.zeros(2, 12, 3), torch.zeros(2, 11, dtype=torch.int64))
    assert horizons_of(episodes, (1, 10, 100)) == [1, 10]
    assert horizons_of(episodes, (50, 100)) == [11]


def test_group_errors_are_those_of_the_matrices():
    truth = torus(size=(5, 7), **SMALL).test.episodes.truth
    angles = torch.zeros(4, 6)
    angles[0, 0], angles[1, 0] = 2 * math.pi / 5, -2 * math.pi / 5 + 0.1
    angles[2, 5], angles[3, 5] = 2 * math.pi / 7, -2 * math.pi / 7
    errors = group_errors(rotation_matrices(angles, 4), truth)
    assert errors["periods"]["+1"] < 1e-5 and errors["periods"]["-1"] == pytest.approx(
        math.sin(0.5), abs=1e-5
    )
    assert errors["inverses"] == pytest.approx({"+1 -1": math.sin(0.1), "+2 -2": 0}, abs=1e-5)
    assert max(errors["commutators"].values()) < 1e-6
    angles[3] = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    errors = group_errors(rotation_matrices(angles, 4), truth)
    assert errors["commutators"]["+1 -2"] > 0.5


def test_the_group_of_a_torus_is_reported(tmp_path):
    splits, model = torus(size=(3, 4), **SMALL), exact((3, 4))
    free = Rotations((6, 12), transition="matrix", network=MLP(hidden=(8,)))
    metrics = evaluate(
        model,
        splits,
        tmp_path / "report",
        questions=[Rollout(horizons=(1, 10, 50))],
        controls={"matrix": free},
        progress=False,
    )["rollout"]
    errors = {(r["prediction"], r["steps"]): r for r in metrics["errors"]}
    assert set(errors) == {(n, s) for n in ("model", "matrix", "copy") for s in (1, 10)}
    assert errors["model", 10]["accuracy"]["mean"] == 1
    assert errors["copy", 1]["accuracy"]["mean"] == 0
    group = metrics["group"]
    assert group["number_of_planes"] == 2 and group["periods_found"] == 1
    assert group["entanglement"] == 0
    invariant = group["invariant"]
    assert invariant["number_of_planes"] == 2 and invariant["periods_found"] == 1
    assert invariant["periods"] == [3, 3, 4, 4] and invariant["residual"] < 1e-5
    turns = {name: action["turns"] for name, action in group["actions"].items()}
    expected = {"+1": 1 / 3, "-1": -1 / 3, "+2": 1 / 4, "-2": -1 / 4}
    assert turns == pytest.approx(expected, abs=1e-6)
    for name in ("periods", "inverses", "commutators"):
        assert group[f"largest_of_{name}"] < 1e-5
    names = {path.stem for path in (tmp_path / "report").glob("*.png")}
    assert names == {"rollout_errors", "rollout_frames", "rollout_angles", "rollout_planes"}
    assert "any matrix for each action" in (tmp_path / "report" / "report.html").read_text()


def test_a_plan_on_the_torus_is_the_shortest_way():
    model = exact((3, 4))
    frames = torch.eye(12)
    plan = model.plan(frames[:1].expand(12, 12), frames, most_steps=3)
    for place, actions in enumerate(plan.actions):
        row, column = divmod(place, 4)
        assert len(actions) == min(row, 3 - row) + min(column, 4 - column)
        reached = model.rollout(frames[:1], torch.tensor([actions], dtype=torch.int64))
        assert int(reached[0, -1].argmax()) == place


def test_a_rollout_of_images_is_a_film(tmp_path):
    splits = flatland(size=12, **SMALL)
    torch.manual_seed(0)
    model = Rotations((6, 1, 12, 12), network=MLP(hidden=(8,)))
    evaluate(
        model,
        splits,
        tmp_path / "report",
        questions=[Rollout(horizons=(1,), frames=7)],
        progress=False,
    )
    with Image.open(tmp_path / "report" / "rollout_film.png") as picture:
        assert picture.n_frames == 8 and picture.size == (2 * 96 + 4, 96)


def test_a_model_without_angles_has_errors_alone(tmp_path):
    splits = torus(size=(3, 4), **SMALL)
    model = Rotations((6, 12), transition="network", width=4, network=MLP(hidden=(8,)))
    metrics = evaluate(
        model, splits, tmp_path / "report", questions=[Rollout(horizons=(1,))], progress=False
    )
    assert "group" not in metrics["rollout"] and len(metrics["rollout"]["errors"]) == 2


def test_own_trajectories_are_their_own_episodes(tmp_path):
    data = GroupedData(
        torch.rand(12, 4, 5), [0] * 12, given={"action": torch.randint(2, (12, 3))}, kind="array"
    )
    model = Rotations((4, 5), actions=2, network=MLP(hidden=(8,)))
    splits = Splits(train=data, test=data)
    metrics = evaluate(model, splits, tmp_path / "report", questions=[Rollout()], progress=False)[
        "rollout"
    ]
    assert {record["steps"] for record in metrics["errors"]} == {1}
    assert metrics["group"]["periods_found"] is None
    assert metrics["group"]["invariant"]["residual"] > 0.05  # untrained actions do not commute
    assert metrics["group"]["invariant"]["number_of_planes"] is None


@pytest.mark.parametrize("model", [MLVAE, VAE])
def test_other_models_and_data_are_not_evaluated(model, tmp_path):
    data = GroupedData(torch.rand(12, 4), [0, 1] * 6)
    metrics = evaluate(
        model((4,), network=MLP(hidden=(8,))),
        Splits(train=data, test=data),
        tmp_path / "report",
        questions=[Rollout()],
        progress=False,
    )
    assert metrics["rollout"] == {}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"horizons": ()}, "horizons"),
        ({"horizons": (0,)}, "horizons"),
        ({"controls": ("spiral",)}, "controls"),
        ({"controls": "matrix"}, "controls"),
        ({"turns": 1}, "turns"),
    ],
)
def test_an_option_out_of_range_is_refused_by_its_name(options, name):
    with pytest.raises(InputError, match=name):
        Rollout(**options)


# Films


def test_a_film_shows_its_rows_side_by_side():
    rows = torch.zeros(2, 3, 1, 50, 50)
    rows[1, 2] = 1
    rows[0, 1, 0, 0, 0] = 1  # equal frames would be one
    frames = film(rows)
    assert len(frames) == 3 and frames[0].size == (204, 100)
    assert frames[2].getpixel((10, 10)) == (0, 0, 0)
    assert frames[2].getpixel((150, 10)) == (255, 255, 255)
    assert frames[1].getpixel((150, 10)) == (0, 0, 0)
    with Image.open(io.BytesIO(film_figure("film", "A film.", rows).png)) as picture:
        assert picture.n_frames == 3


@pytest.mark.parametrize("name", ["film.gif", "film.png"])
def test_a_film_is_written_to_a_file(name, tmp_path):
    rows = torch.rand(1, 4, 3, 100, 100)
    save_film(tmp_path / name, rows)
    with Image.open(tmp_path / name) as picture:
        assert picture.n_frames == 4


def test_a_film_of_another_name_or_shape_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.gif"):
        save_film(tmp_path / "film.mp4", torch.rand(1, 4, 3, 10, 10))
    with pytest.raises(InputError, match="channels"):
        save_film(tmp_path / "film.gif", torch.rand(1, 4, 2, 10, 10))
