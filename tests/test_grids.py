import pytest
import torch

from mlvae import Batch, DiagonalGaussian, GroupedData, Groups, InputError
from mlvae.grids import (
    TILE,
    accumulation_grid,
    generation_grid,
    interpolation_grid,
    pictures,
    reconstruction_grid,
    swap_grid,
    traversal_grid,
)
from mlvae.models import VAE
from mlvae.posteriors import Point


class Half(torch.nn.Module):
    """Content is the first pixel, style the rest; an image is decoded with half its values."""

    def codes(self, batch):
        x = batch.x.flatten(1)
        return {"content": Point(x[:, :1]), "style": Point(x[:, 1:])}

    def decode(self, content, style):
        return torch.cat((content, style), 1).view(-1, 1, 8, 8) / 2


def tile(grid, row, column, size):
    """The tile of a grid with a frame of two pixels, at its own size again."""
    scale = -(-TILE // size)
    top, left = (2 + i * (size * scale + 2) for i in (row, column))
    return grid[0, top : top + size * scale : scale, left : left + size * scale : scale]


def test_the_swap_grid_is_laid_out_as_in_the_paper():
    x = torch.rand(3, 1, 8, 8)
    grid = swap_grid(Half(), Batch.ungrouped(x))
    for i in range(3):
        assert torch.equal(tile(grid, 0, i + 2, 8), x[i, 0])
        assert torch.equal(tile(grid, i + 2, 0, 8), x[i, 0])
        assert torch.equal(tile(grid, 1, i + 2, 8), x[i, 0] / 2)
        assert torch.equal(tile(grid, i + 2, 1, 8), x[i, 0] / 2)
        for j in range(3):  # row i gives the style, column j the content
            swapped = tile(grid, i + 2, j + 2, 8)
            assert swapped[0, 0] == x[j, 0, 0, 0] / 2
            assert torch.equal(swapped[1:], x[i, 0, 1:] / 2)
            assert torch.equal(swapped[0, 1:], x[i, 0, 0, 1:] / 2)


def test_reconstructions_are_below_their_images():
    x = torch.rand(3, 1, 8, 8)
    grid = reconstruction_grid(Half(), Batch.ungrouped(x))
    assert torch.equal(tile(grid, 0, 2, 8), x[2, 0])
    assert torch.equal(tile(grid, 1, 2, 8), x[2, 0] / 2)


def test_pictures_are_reconstructions_and_swaps_if_the_model_has_them(small_model, digits):
    model = small_model().train()
    assert set(pictures(model, digits.test)) == {"reconstructions", "swaps"}
    assert model.training
    assert set(pictures(VAE((1, 8, 8), latent_dim=2), digits.test)) == {"reconstructions"}


def test_features_have_no_pictures(small_model):
    assert pictures(small_model(), GroupedData(torch.rand(4, 5), [0, 0, 1, 1])) == {}


class Sides(torch.nn.Module):
    """Content is the left half of an image, averaged over its group; style is the right half."""

    def codes(self, batch):
        left, right = (half.flatten(1) for half in batch.x.split(4, -1))
        left = batch.groups.spread(batch.groups.sum(left) / batch.groups.sizes[:, None])
        return {
            name: DiagonalGaussian(half, torch.zeros_like(half))
            for name, half in (("content", left), ("style", right))
        }

    def decode(self, content, style):
        rows = max(len(content), len(style))
        halves = [half.expand(rows, -1).unflatten(1, (1, 8, 4)) for half in (content, style)]
        return torch.cat(halves, -1)


def test_interpolation_moves_content_along_columns_and_style_along_rows():
    start, end = torch.rand(2, 1, 1, 8, 8)
    grid = interpolation_grid(Sides(), Batch.ungrouped(torch.cat((start, end))), steps=3)
    assert torch.equal(tile(grid, 0, 0, 8), start[0, 0])
    assert torch.equal(tile(grid, 2, 2, 8), end[0, 0])
    middle = tile(grid, 2, 1, 8)  # half-way in content, at the end in style
    torch.testing.assert_close(middle[:, :4], (start + end)[0, 0, :, :4] / 2)
    assert torch.equal(middle[:, 4:], end[0, 0, :, 4:])


def test_generation_joins_the_content_of_a_group_with_styles_shared_by_all_rows():
    x = torch.rand(5, 1, 8, 8)
    batch = Batch(x, Groups.of([0, 1, 0, 0, 1]))
    grid = generation_grid(Sides(), batch, columns=4, generator=torch.Generator())
    assert torch.equal(tile(grid, 1, 0, 8), x[1, 0])  # members first, in their order
    assert torch.equal(tile(grid, 1, 1, 8), x[4, 0])
    made = [[tile(grid, row, 3 + column, 8) for column in range(4)] for row in (0, 1)]
    for row, members in enumerate(([0, 2, 3], [1, 4])):
        for image in made[row]:
            torch.testing.assert_close(image[:, :4], x[members, 0, :, :4].mean(0))
    for first, second in zip(*made, strict=True):
        assert torch.equal(first[:, 4:], second[:, 4:])


def test_accumulation_decodes_the_content_of_the_group_with_the_style_of_each_image():
    x = torch.rand(6, 1, 8, 8)
    grid = accumulation_grid(Sides(), Batch(x, Groups.of([0, 1, 0, 1, 0, 1])))
    for row, members in enumerate(([0, 2, 4], [1, 3, 5])):
        mean = x[members, 0, :, :4].mean(0)
        for i, member in enumerate(members):
            assert torch.equal(tile(grid, row, i, 8), x[member, 0])
            assert torch.equal(tile(grid, row, 4 + i, 8), x[member, 0])
            pooled = tile(grid, row, 8 + i, 8)
            torch.testing.assert_close(pooled[:, :4], mean)
            assert torch.equal(pooled[:, 4:], x[member, 0, :, 4:])


def test_a_traversal_moves_one_dimension_at_a_time():
    x = torch.rand(1, 1, 8, 8)
    grid = traversal_grid(Sides(), Batch.ungrouped(x), steps=5, span=1.0, most=33)
    for row, pixel in ((0, (0, 0)), (32, (0, 4))):  # first of the content, first of the style
        for column, value in enumerate((-1.0, -0.5, 0.0, 0.5, 1.0)):
            expected = x[0, 0].clone()
            expected[pixel] = max(0.0, value)  # drawn within [0, 1]
            torch.testing.assert_close(tile(grid, row, column, 8), expected)


def test_a_model_with_one_latent_has_its_own_layouts():
    model = VAE((1, 8, 8), latent_dim=3)
    pair, side = Batch.ungrouped(torch.rand(2, 1, 8, 8)), 56 + 2
    assert interpolation_grid(model, pair, steps=4).shape == (3, side + 2, 4 * side + 2)
    assert generation_grid(model, pair).shape == (3, 8 * side + 2, 8 * side + 2)
    one = pair.singles(torch.tensor([0]))
    assert traversal_grid(model, one, steps=4).shape == (3, 3 * side + 2, 4 * side + 2)


def test_bytes_and_floats_give_the_same_grids(small_model):
    model = small_model().eval()
    x = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    groups = Groups.of([0, 0, 1, 1])
    grids = {
        swap_grid,
        reconstruction_grid,
        interpolation_grid,
        accumulation_grid,
        traversal_grid,
        lambda model, batch: generation_grid(
            model, batch, generator=torch.Generator().manual_seed(0)
        ),
    }
    for grid in grids:
        shown = grid(model, Batch(x, groups))
        torch.testing.assert_close(shown, grid(model, Batch(x.float() / 255, groups)))
        assert 0.05 < float(shown.mean()) < 0.95
    data = GroupedData(x, [0, 0, 1, 1])
    floats = GroupedData(x.float() / 255, [0, 0, 1, 1])
    for name, shown in pictures(model, data).items():
        torch.testing.assert_close(shown, pictures(model, floats)[name])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_without_style_has_no_swaps(channels):
    vae = VAE((channels, 8, 8), latent_dim=2)
    data = GroupedData(torch.zeros(2, channels, 8, 8, dtype=torch.uint8), [0, 1])
    with pytest.raises(InputError, match=r"latent.*reconstruction_grid"):
        swap_grid(vae, data.batch())
