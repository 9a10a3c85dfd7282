"""A warp is the same for all members of a group, and another for every group."""

import pytest
import torch

from mlvae import Batch, Groups, InputError, Reports
from mlvae.data import GroupWarp
from mlvae.models import MLVAE
from mlvae.networks import MLP
from mlvae.parts import from_config, to_config
from mlvae.training import train


def smooth(n, size=24):
    """Images without edges, the same one n times."""
    way = torch.linspace(-1, 1, size)
    image = 0.5 + 0.2 * way[:, None] + 0.3 * torch.sin(2 * way)[None]
    return image.expand(n, 1, size, size)


LABELS = [0, 1, 0, 1, 1, 2]
QUIET = Reports(progress=False)


def warped(seed=0, **options):
    batch = Batch(smooth(6), Groups.of(LABELS))
    return GroupWarp(**options)(batch, generator=torch.Generator().manual_seed(seed))


def test_members_are_warped_alike_and_groups_differently():
    batch = warped()
    assert batch.groups.index.tolist() == LABELS
    for i in range(6):
        for j in range(i):
            assert torch.equal(batch.x[i], batch.x[j]) == (LABELS[i] == LABELS[j])


def test_the_groups_of_another_grouping_can_be_warped():
    further = Groups.of([0, 0, 0, 1, 1, 1])
    batch = Batch(smooth(6), Groups.of(LABELS), further_groups={"page": further})
    x = GroupWarp(by="page")(batch, generator=torch.Generator().manual_seed(0)).x
    for i in range(6):
        for j in range(i):
            assert torch.equal(x[i], x[j]) == (i // 3 == j // 3)
    with pytest.raises(InputError, match=r"augmentation\.by .*room"):
        GroupWarp(by="room")(batch)


def test_the_generator_decides_and_values_stay_images():
    assert torch.equal(warped(seed=1).x, warped(seed=1).x)
    assert not torch.equal(warped(seed=1).x, warped(seed=2).x)
    wild = warped(affine=1.0, shift=1.0, elastic=1.0).x
    assert wild.min() >= 0 and wild.max() <= 1


def test_without_strength_nothing_happens_and_a_flip_alone_mirrors():
    still = {"affine": 0.0, "shift": 0.0, "elastic": 0.0}
    torch.testing.assert_close(warped(**still, flip=False).x, smooth(6))
    mirrored = 0
    for seed in range(8):
        for image in warped(seed=seed, **still).x[[0, 1, 5]]:
            same = torch.allclose(image, smooth(1)[0], atol=1e-5)
            mirrored += not same
            assert same or torch.allclose(image, smooth(1)[0].flip(-1), atol=1e-5)
    assert 4 < mirrored < 20


def test_a_shift_moves_by_what_it_says():
    # An image that is its own horizontal coordinate: the warp can be read from it.
    way = torch.linspace(0, 1, 101)
    batch = Batch(way.expand(400, 1, 5, 101), Groups.singletons(400))
    still = {"affine": 0.0, "elastic": 0.0, "flip": False}
    x = GroupWarp(shift=0.1, **still)(batch, generator=torch.Generator().manual_seed(0)).x
    moved = 2 * (x[:, 0, 2, 50] - 0.5)  # in the coordinates of the warp
    assert float(moved.std()) == pytest.approx(0.1, rel=0.1)


def test_training_with_it_resumes_bit_for_bit(digits, tmp_path):
    def model():
        torch.manual_seed(0)
        return MLVAE((1, 8, 8), network=MLP(hidden=(8,)))

    options = {"augmentation": GroupWarp(), "reports": QUIET}
    whole, parts = model(), model()
    train(whole, digits.test, run=tmp_path / "whole", epochs=4, **options)
    train(parts, digits.test, run=tmp_path / "parts", epochs=2, **options)
    train(parts, digits.test, run=tmp_path / "parts", epochs=4, resume=True, **options)
    plain = model()
    train(plain, digits.test, run=tmp_path / "plain", epochs=4, reports=QUIET)
    a, b, c = (torch.cat([p.flatten() for p in m.parameters()]) for m in (whole, parts, plain))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_it_is_written_down_and_what_does_not_fit_is_refused():
    assert from_config(to_config(GroupWarp(affine=0.2)), [GroupWarp], "") == GroupWarp(affine=0.2)
    for options in ({"affine": -1}, {"lattice": 1}, {"flip": 1}):
        with pytest.raises(InputError, match=r"augmentation\."):
            GroupWarp(**options)
    with pytest.raises(InputError, match="takes images"):
        GroupWarp().check((12,))
