import pytest
import torch

from mlvae import GroupedData, Groups, InputError
from mlvae.evaluation.measures.codes import (
    accumulate_sets,
    cut_sets,
    disjoint_sets,
    encode,
    pixels,
    representations,
)
from mlvae.models import VAE


def ragged():
    return Groups.of(torch.repeat_interleave(torch.arange(4), torch.tensor([1, 6, 7, 20])))


@pytest.mark.parametrize("k", [1, 2, 3, 7, 20])
def test_sets_are_disjoint_of_one_group_and_as_many_as_there_can_be(k):
    groups = ragged()
    sets = disjoint_sets(groups, k)
    assert sets.shape == (sum(size // k for size in (1, 6, 7, 20)), k)
    assert len(sets.unique()) == sets.numel()
    group = groups.index[sets]
    assert (group == group[:, :1]).all()
    assert torch.bincount(group[:, 0], minlength=4).tolist() == [
        size // k for size in (1, 6, 7, 20)
    ]


def test_sets_are_cut_at_random_and_again_the_same_with_the_same_generator():
    cuts = [disjoint_sets(ragged(), 3, generator=torch.Generator().manual_seed(s)) for s in (0, 0)]
    assert torch.equal(*cuts)
    assert not torch.equal(
        cuts[0], disjoint_sets(ragged(), 3, generator=torch.Generator().manual_seed(1))
    )


def test_no_set_is_larger_than_every_group():
    with pytest.raises(InputError, match=r"k=21 .*\b20\b"):
        disjoint_sets(ragged(), 21)
    with pytest.raises(InputError, match=r"^k .*\b0$"):
        disjoint_sets(ragged(), 0)


def test_the_code_of_a_set_is_the_content_that_the_model_infers(small_model, digits):
    model = small_model()
    posterior = encode(representations(model, digits.test)["content"], digits.test, chunk=50)
    sets = disjoint_sets(digits.test.groups, 4)
    codes = accumulate_sets(posterior, sets, accumulation=model.pooling["content"])
    one = model.infer_content(digits.test.x[sets[3]], [0, 0, 0, 0])
    torch.testing.assert_close(codes.mean[3:4], one.mean)
    torch.testing.assert_close(codes.log_variance[3:4], one.log_variance)


def test_a_model_without_style_has_one_latent(digits):
    model = VAE((1, 8, 8), latent_dim=3)
    assert set(representations(model, digits.test)) == {"latent"}


def test_a_model_without_codes_is_refused(digits):
    with pytest.raises(InputError, match=r"Linear .*codes.*decode"):
        representations(torch.nn.Linear(2, 2), digits.test)


def test_accumulated_pixels_are_the_plain_average():
    data = GroupedData(torch.rand(6, 1, 2, 2), [0] * 6)
    codes = accumulate_sets(encode(pixels, data), torch.tensor([[0, 2, 4], [1, 3, 5]]))
    expected = torch.stack((data.x[[0, 2, 4]].mean(0), data.x[[1, 3, 5]].mean(0))).flatten(1)
    torch.testing.assert_close(codes.mean, expected)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_no_set_shares_an_observation_with_one_that_is_held_out(k):
    groups = Groups(torch.arange(200) % 3)
    sets, held = cut_sets(groups, k)
    assert sets.shape[1] == k and (groups.index[sets] == groups.index[sets[:, :1]]).all()
    kept_out, rest = held.flatten(), sets.flatten()
    assert len(kept_out.unique()) == len(kept_out)
    assert not torch.isin(rest, kept_out).any()
    assert len(kept_out) == k * 3 * (66 // k // 10 or 1) and len(sets) > 130
    assert set(groups.index[kept_out].tolist()) == {0, 1, 2}


def test_single_observations_never_overlap_and_groups_of_one_set_keep_it():
    sets, held = cut_sets(Groups(torch.arange(20) % 2), 1)
    assert sorted(torch.cat((sets, held)).flatten().tolist()) == list(range(20))
    assert len(held) == 2  # one of each group
    sets, held = cut_sets(Groups(torch.tensor([0, 0, 0, 1, 1, 1, 1])), 2)
    assert len(held) == 1 and len(sets) == 2 * 2
    sets, held = cut_sets(Groups(torch.tensor([0, 0, 0, 1, 1, 1])), 2)
    assert len(held) == 0 and len(sets) == 2 * 2
