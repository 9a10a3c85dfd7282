import torch

from mlvae import GroupedData
from mlvae.grids import TILE, pictures, reconstruction_grid, swap_grid
from mlvae.models import VAE


class Sum(torch.nn.Module):
    """Content is the first pixel, style the rest: what every tile must be is known."""

    def swap(self, content_of, style_of):
        image = style_of.clone()
        image[..., 0, 0] = content_of[..., 0, 0]
        return image

    def reconstruct(self, x):
        return x * 0.5


def tile(grid, row, column, size):
    """The tile of a grid with a frame of two pixels, at its own size again."""
    scale = -(-TILE // size)
    top, left = (2 + i * (size * scale + 2) for i in (row, column))
    return grid[0, top : top + size * scale : scale, left : left + size * scale : scale]


def test_the_swap_grid_is_laid_out_as_in_the_paper():
    x = torch.rand(3, 1, 8, 8)
    grid = swap_grid(Sum(), x)
    for i in range(3):
        assert torch.equal(tile(grid, 0, i + 2, 8), x[i, 0])
        assert torch.equal(tile(grid, i + 2, 0, 8), x[i, 0])
        assert torch.equal(tile(grid, 1, i + 2, 8), x[i, 0] / 2)
        assert torch.equal(tile(grid, i + 2, 1, 8), x[i, 0] / 2)
        for j in range(3):  # row i gives the style, column j the content
            swapped = tile(grid, i + 2, j + 2, 8)
            assert swapped[0, 0] == x[j, 0, 0, 0]
            assert torch.equal(swapped[1:], x[i, 0, 1:])


def test_reconstructions_stand_below_their_images():
    x = torch.rand(3, 1, 8, 8)
    grid = reconstruction_grid(Sum(), x)
    assert torch.equal(tile(grid, 0, 2, 8), x[2, 0])
    assert torch.equal(tile(grid, 1, 2, 8), x[2, 0] / 2)


def test_pictures_are_what_a_model_can_give_of_images(small_model, digits):
    model = small_model().train()
    assert set(pictures(model, digits.test)) == {"reconstructions", "swaps"}
    assert model.training
    assert set(pictures(VAE((1, 8, 8), latent_dim=2), digits.test)) == {"reconstructions"}


def test_features_have_no_pictures(small_model):
    assert pictures(small_model(), GroupedData(torch.rand(4, 5), [0, 0, 1, 1])) == {}
