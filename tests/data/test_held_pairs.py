"""Combinations of two labels that are kept out of training."""

import pytest
import torch

from mlvae.data.splitting.held_pairs import held_pairs
from mlvae.errors import InputError

ALL = torch.cartesian_prod(torch.arange(6), torch.arange(5)).repeat(3, 1)


def test_whole_combinations_are_held_out_and_every_label_stays():
    for seed in range(5):
        out = held_pairs(*ALL.T, 0.3, seed=seed)
        assert len(ALL[out].unique(dim=0)) == 9 and int(out.sum()) == 27
        kept = ALL[~out]
        assert kept[:, 0].unique().tolist() == list(range(6))
        assert kept[:, 1].unique().tolist() == list(range(5))


def test_the_draw_depends_on_the_seed_alone():
    first = held_pairs(*ALL.T, 0.3, seed=1)
    assert torch.equal(first, held_pairs(*ALL.T, 0.3, seed=1))
    assert not torch.equal(first, held_pairs(*ALL.T, 0.3, seed=2))
    order = torch.randperm(len(ALL), generator=torch.Generator().manual_seed(0))
    assert torch.equal(first[order], held_pairs(*ALL[order].T, 0.3, seed=1))


def test_as_many_combinations_stay_as_there_are_labels_to_keep():
    # A label with one combination never loses it; 6 x 5 labels need at least 6 combinations.
    out = held_pairs(*ALL.T, 0.66, seed=0)
    assert len(ALL[~out].unique(dim=0)) == 10
    for share, pairs in ((0.9, ALL), (0.5, torch.tensor([[0, 0], [1, 1]]))):
        with pytest.raises(InputError, match=r"held_pairs=0\.\d"):
            held_pairs(*pairs.T, share)
    with pytest.raises(InputError, match=r"dataset\.held_pairs"):
        held_pairs(*ALL.T, 1.5, option="dataset.held_pairs")
