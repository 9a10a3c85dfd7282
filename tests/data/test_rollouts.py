"""dataset=rollouts: trajectories from files of a user's own."""

import zipfile

import numpy as np
import pytest
import torch

from mlvae import InputError
from mlvae.data import rollouts


def written(path, episodes, *, continuous=False, words=False):
    """A file of episodes whose frames are their numbers: x[i] = [episode, time]."""
    x = np.concatenate([[[n, t] for t in range(length)] for n, length in enumerate(episodes)])
    action = x[:, 1].astype(np.float32)[:, None] if continuous else x[:, 1]
    episode = np.array([f"walk {n}" for n in x[:, 0]]) if words else x[:, 0]
    np.savez(path, x=x.astype(np.float32), action=action, episode=episode)
    return path


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("words", [False, True])
def test_trajectories_are_cut_from_episodes_with_the_actions_between(tmp_path, continuous, words):
    path = written(tmp_path / "walks.npz", [11, 4, 8, 6], continuous=continuous, words=words)
    splits = rollouts(path, steps=3, validation=1, test=1)
    whole = [data for _, data in splits]
    frames = torch.cat([data.x for data in whole])
    assert frames.shape == (3 + 1 + 2 + 1, 4, 2)
    assert (frames[:, :, 0] == frames[:, :1, 0]).all()
    assert (frames[:, :, 1].diff(dim=1) == 1).all()
    actions = torch.cat([data.given["action"] for data in whole])
    assert actions.is_floating_point() == continuous
    torch.testing.assert_close(actions.reshape(len(frames), 3).float(), frames[:, :-1, 1])
    owners = [set(data.x[:, 0, 0].tolist()) for data in whole]
    assert sum(map(len, owners)) == 4 and len(set.union(*owners)) == 4


def test_a_single_episode_is_divided_in_time(tmp_path):
    x = np.arange(41, dtype=np.float32)[:, None]
    np.savez(tmp_path / "walk.npz", x=x, action=np.zeros(41, np.int64))
    splits = rollouts(tmp_path / "walk.npz", steps=4, validation=2, test=3)
    assert [float(data.x.min()) for _, data in splits] == [0, 20, 28]
    assert [float(data.x.max()) for _, data in splits] == [20, 28, 40]
    assert splits.test.episodes.x[0, :, 0].tolist() == list(range(28, 41))


def test_episodes_of_the_test_have_the_length_of_half_of_them(tmp_path):
    path = written(tmp_path / "walks.npz", [9, 9, 5, 5, 5, 5, 5, 5])
    splits = rollouts(path, steps=2, validation=0, test=7, length=6)
    assert splits.test.episodes.x.shape[1] == 5
    images = np.zeros((30, 1, 8, 8), np.uint8)
    np.savez(tmp_path / "images.npz", x=images, action=np.zeros(30, np.int64))
    splits = rollouts(tmp_path / "images.npz", steps=2, length=3)
    assert splits.train.x.dtype == splits.test.episodes.x.dtype == torch.uint8


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"x": np.zeros((9, 2))}, "no action, only: x"),
        ({"x": np.zeros((9, 2)), "action": np.array(3)}, "action in"),
        ({"x": np.zeros((9, 2)), "action": np.zeros(9, bool)}, r"astype\(int\)"),
        ({"x": np.zeros((9, 2)), "action": np.full(9, 0.5)}, r"action\[:, None\]"),
        ({"x": np.zeros((9, 2)), "action": np.zeros((9, 1), int)}, r"action\[:, 0\]"),
        ({"x": np.zeros((9, 2)), "action": np.array(["left"] * 9)}, "number the words"),
        ({"x": np.zeros((9, 2)), "action": np.full(9, 2**63, np.uint64)}, "2\\^63"),
        ({"x": np.full((9, 2), np.nan), "action": np.zeros(9, int)}, "finite.*frame 0"),
        ({"x": np.zeros((9, 2), np.uint8), "action": np.zeros(9, int)}, "grey levels or counts"),
        ({"x": np.zeros((9, 6, 6, 3), np.uint8), "action": np.zeros(9, int)}, "channels"),
        (
            {
                "x": np.zeros((9, 2)),
                "action": np.zeros(9, int),
                "episode": np.array([0, 0, 1] * 3),
            },
            "flags",
        ),
        ({"x": np.zeros(9), "action": np.zeros(9, int)}, "x in"),
        ({"x": np.zeros((9, 2)), "action": np.zeros(8, int)}, "append"),
        ({"x": np.zeros((9, 2)), "action": np.zeros(9)}, "action in"),
        ({"x": np.zeros((9, 2)), "action": np.zeros((9, 2), int)}, "action in"),
        ({"x": np.zeros((3, 2)), "action": np.zeros(3, int)}, "dataset.steps"),
        (
            {"x": np.zeros((9, 2)), "action": np.zeros(9, int), "episode": np.zeros((9, 1))},
            "episode",
        ),
        (
            {
                "x": np.zeros((20, 2)),
                "action": np.zeros(20, int),
                "episode": np.array([0, 1] * 10),
            },
            "episode",
        ),
    ],
)
def test_a_file_that_is_not_as_described_is_refused(tmp_path, content, match):
    np.savez(tmp_path / "file.npz", **content)
    with pytest.raises(InputError, match=match):
        rollouts(tmp_path / "file.npz", steps=5, validation=0, test=0)


def test_a_file_with_one_array_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((9, 2)))
    with pytest.raises(InputError, match=r"savez.*one array"):
        rollouts(tmp_path / "x.npy")


def test_grey_images_have_one_scale_in_trajectories_and_episodes(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (40, 5, 5), np.uint8)
    np.savez(tmp_path / "grey.npz", x=grey, action=np.zeros(40, int))
    test = rollouts(tmp_path / "grey.npz", steps=3).test
    frames = test.observations(torch.arange(len(test)))
    assert test.shape == (4, 1, 5, 5) and float(frames.max()) <= 1
    torch.testing.assert_close(test.episodes.floats()[0, :4], frames[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, ">i4"])
def test_integers_of_every_type_are_actions(tmp_path, dtype):
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 2)), action=np.arange(20).astype(dtype))
    data = rollouts(tmp_path / "a.npz", steps=3, validation=0, test=0).train
    assert data.given["action"].dtype == torch.int64
    assert data.given["action"].flatten().tolist() == list(range(18))


def test_actions_are_finite_but_for_the_last_frame_of_an_episode(tmp_path):
    action = np.zeros((20, 2))
    action[[9, 19]] = np.nan
    content = {"x": np.zeros((20, 2)), "episode": np.arange(20) // 10}
    np.savez(tmp_path / "a.npz", action=action, **content)
    data = rollouts(tmp_path / "a.npz", steps=3, validation=0, test=0).train
    assert data.given["action"].isfinite().all()
    action[4] = np.inf
    np.savez(tmp_path / "a.npz", action=action, **content)
    with pytest.raises(InputError, match=r"action .*frame 4"):
        rollouts(tmp_path / "a.npz", steps=3, validation=0, test=0)


def test_what_is_not_used_is_printed(tmp_path, capsys):
    content = {"x": np.zeros((24, 2)), "action": np.zeros(24, int)}
    episode = np.repeat([0, 1, 2], [10, 4, 10])
    np.savez(tmp_path / "a.npz", **content, episode=episode, reward=np.zeros(24))
    rollouts(tmp_path / "a.npz", steps=5, validation=0, test=0)
    printed = capsys.readouterr().out
    assert "reward is not read" in printed and "1 of 3 episodes" in printed


def test_a_file_whose_members_are_no_arrays_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x", "1 2 3")
        file.writestr("action", "1 2 3")
    with pytest.raises(InputError, match=r"x in .*own\.npz"):
        rollouts(path)
