import torch

from mlvae import DiagonalGaussian, GroupedData, Groups
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


class Sides(torch.nn.Module):
    """Content is the left half of an image, style the right: every tile is known again."""

    style_dim = 32

    def infer_content(self, x, groups=None):
        left = x[..., :4].flatten(1)
        if groups is not None:
            left = groups.sum(left) / groups.sizes[:, None]
        return DiagonalGaussian(left, torch.zeros_like(left))

    def infer_style(self, x):
        right = x[..., 4:].flatten(1)
        return DiagonalGaussian(right, torch.zeros_like(right))

    def decode(self, content, style):
        rows = max(len(content), len(style))
        halves = [half.expand(rows, -1).unflatten(1, (1, 8, 4)) for half in (content, style)]
        return torch.cat(halves, -1)

    def reconstruct(self, x, groups=None):
        content = self.infer_content(x, groups).mean
        return self.decode(
            content if groups is None else content[groups.index], self.infer_style(x).mean
        )


def test_interpolation_moves_content_along_columns_and_style_along_rows():
    start, end = torch.rand(2, 1, 1, 8, 8)
    grid = interpolation_grid(Sides(), start, end, steps=3)
    assert torch.equal(tile(grid, 0, 0, 8), start[0, 0])
    assert torch.equal(tile(grid, 2, 2, 8), end[0, 0])
    middle = tile(grid, 2, 1, 8)  # half-way in content, at the end in style
    torch.testing.assert_close(middle[:, :4], (start + end)[0, 0, :, :4] / 2)
    assert torch.equal(middle[:, 4:], end[0, 0, :, 4:])


def test_generation_joins_the_content_of_a_group_with_styles_shared_by_all_rows():
    x = torch.rand(5, 1, 8, 8)
    groups = Groups.of([0, 1, 0, 0, 1])
    grid = generation_grid(Sides(), x, groups, columns=4, generator=torch.Generator())
    assert torch.equal(tile(grid, 1, 0, 8), x[1, 0])  # members first, in their order
    assert torch.equal(tile(grid, 1, 1, 8), x[4, 0])
    made = [[tile(grid, row, 3 + column, 8) for column in range(4)] for row in (0, 1)]
    for row, members in enumerate(([0, 2, 3], [1, 4])):
        for image in made[row]:
            torch.testing.assert_close(image[:, :4], x[members, 0, :, :4].mean(0))
    for first, second in zip(*made, strict=True):
        assert torch.equal(first[:, 4:], second[:, 4:])


def test_accumulation_gives_a_row_its_groups_content_and_every_image_its_own_style():
    x = torch.rand(6, 1, 8, 8)
    groups = Groups.of([0, 1, 0, 1, 0, 1])
    grid = accumulation_grid(Sides(), x, groups)
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
    grid = traversal_grid(Sides(), x, steps=5, span=1.0, most=33)
    for row, pixel in ((0, (0, 0)), (32, (0, 4))):  # first of the content, first of the style
        for column, value in enumerate((-1.0, -0.5, 0.0, 0.5, 1.0)):
            expected = x[0, 0].clone()
            expected[pixel] = max(0.0, value)  # drawn within [0, 1]
            torch.testing.assert_close(tile(grid, row, column, 8), expected)


def test_a_model_with_one_latent_has_its_own_layouts():
    model = VAE((1, 8, 8), latent_dim=3)
    x, side = torch.rand(2, 1, 8, 8), 56 + 2
    assert interpolation_grid(model, x[:1], x[1:], steps=4).shape == (3, side + 2, 4 * side + 2)
    groups = Groups.of([0, 1])
    assert generation_grid(model, x, groups).shape == (3, 8 * side + 2, 8 * side + 2)
    assert traversal_grid(model, x[:1], steps=4).shape == (3, 3 * side + 2, 4 * side + 2)
