import pytest
import torch

from mlvae import Batch, DiagonalGaussian, GroupedData, Groups, InputError
from mlvae.grids import (
    accumulation_grid,
    evidence_grid,
    generation_grid,
    interpolation_grid,
    pictures,
    reconstruction_grid,
    swap_grid,
    traversal_grid,
)
from mlvae.likelihoods import Gaussian
from mlvae.models import VAE
from mlvae.posteriors import Point


class Half(torch.nn.Module):
    """Content is the first pixel, style the rest; an image is decoded with half its values."""

    def codes(self, batch):
        x = batch.x.flatten(1)
        return {"content": Point(x[:, :1]), "style": Point(x[:, 1:])}

    def decode(self, content, style):
        return torch.cat((content, style), 1).view(-1, 1, 8, 8) / 2


def test_a_swap_has_the_content_of_its_column_and_the_style_of_its_row():
    x = torch.rand(3, 1, 8, 8)
    grid = swap_grid(Half(), Batch.ungrouped(x))
    assert grid.rows == grid.columns == ["observed", "1", "2", "3"]
    assert (grid.across, grid.down, grid.below) == ({1: "content of"}, "style of", [1])
    assert not grid.filled[0, 0] and grid.filled.sum() == 15
    assert torch.equal(grid.tiles[0, 1:], x) and torch.equal(grid.tiles[1:, 0], x)
    for i in range(3):
        for j in range(3):
            swapped = grid.tiles[i + 1, j + 1, 0]
            assert swapped[0, 0] == x[j, 0, 0, 0] / 2
            assert torch.equal(swapped.flatten()[1:], x[i].flatten()[1:] / 2)
            assert grid.marked[i + 1, j + 1] == (i == j)
    assert grid.marked.sum() == 3


def test_a_swap_of_groups_has_the_content_of_the_whole_group_and_the_style_of_its_first():
    x = torch.rand(5, 1, 8, 8)
    data = GroupedData(x, ["b", "a", "b", "a", "b"])
    grid = swap_grid(Sides(), data.batch())
    assert grid.rows[1:] == grid.columns[1:] == ["a", "b"]
    members = {1: [1, 3], 2: [0, 2, 4]}
    for i, row in members.items():
        assert torch.equal(grid.tiles[i, 0], x[row[0]]) and torch.equal(
            grid.tiles[0, i], x[row[0]]
        )
        for j, column in members.items():
            mean = x[column, 0, :, :4].mean(0)
            torch.testing.assert_close(grid.tiles[i, j, 0, :, :4], mean)
            assert torch.equal(grid.tiles[i, j, 0, :, 4:], x[row[0], 0, :, 4:])


def test_reconstructions_are_below_their_observations():
    x = torch.rand(3, 1, 8, 8)
    grid = reconstruction_grid(Half(), Batch.ungrouped(x))
    assert torch.equal(grid.tiles[0], x) and torch.equal(grid.tiles[1], x / 2)
    assert len(grid.rows) == 2 and grid.columns == ["1", "2", "3"]


def test_observations_of_groups_have_a_row_with_the_content_of_their_group():
    x = torch.rand(3, 1, 8, 8)
    grid = reconstruction_grid(Sides(), GroupedData(x, ["b", "a", "b"]).batch())
    assert grid.columns == ["b", "a", "b"] and len(grid.rows) == 3
    mean = x[[0, 2], 0, :, :4].mean(0)
    torch.testing.assert_close(grid.tiles[2, 0, 0, :, :4], mean)
    assert torch.equal(grid.tiles[1], x)


def test_pictures_are_reconstructions_and_swaps_if_the_model_has_them(small_model, digits):
    model = small_model().train()
    found = pictures(model, digits.test)
    assert set(found) == {"reconstructions", "swaps"}
    assert found["swaps"].rows[1:] == list("0123456789")
    assert model.training
    assert set(pictures(VAE((1, 8, 8), latent_dim=2), digits.test)) == {"reconstructions"}


@pytest.mark.parametrize(("shape", "drawn"), [((5,), True), ((3, 9), True), ((1,), False)])
def test_series_have_pictures_and_single_numbers_have_none(shape, drawn):
    data = GroupedData(torch.randn(4, *shape), [0, 0, 1, 1])
    found = pictures(VAE(shape, latent_dim=2, likelihood=Gaussian()), data)
    assert set(found) == ({"reconstructions"} if drawn else set())
    assert all(not grid.images and grid.tiles.shape[2:] == shape for grid in found.values())


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
    tiles = interpolation_grid(Sides(), Batch.ungrouped(torch.cat((start, end))), steps=3).tiles
    assert torch.equal(tiles[0, 0], start[0])
    assert torch.equal(tiles[2, 2], end[0])
    middle = tiles[2, 1, 0]  # half-way in content, at the end in style
    torch.testing.assert_close(middle[:, :4], (start + end)[0, 0, :, :4] / 2)
    assert torch.equal(middle[:, 4:], end[0, 0, :, 4:])


def test_generation_joins_the_content_of_a_group_with_styles_shared_by_all_rows():
    x = torch.rand(5, 1, 8, 8)
    batch = Batch(x, Groups.of([0, 1, 0, 0, 1]))
    grid = generation_grid(Sides(), batch, columns=6, generator=torch.Generator())
    assert torch.equal(grid.tiles[1, 0], x[1])  # members first, in their order
    assert torch.equal(grid.tiles[1, 1], x[4])
    assert grid.filled[:, :3].tolist() == [[True] * 3, [True, True, False]]
    made = grid.tiles[:, 3:, 0]
    for row, members in enumerate(([0, 2, 3], [1, 4])):
        for image in made[row]:
            torch.testing.assert_close(image[:, :4], x[members, 0, :, :4].mean(0))
    assert torch.equal(made[0, ..., 4:], made[1, ..., 4:])


def test_accumulation_decodes_the_content_of_the_group_with_the_style_of_each_image():
    x = torch.rand(6, 1, 8, 8)
    grid = accumulation_grid(Sides(), Batch(x, Groups.of([0, 1, 0, 1, 0, 1])))
    assert list(grid.across) == [0, 3, 6]
    for row, members in enumerate(([0, 2, 4], [1, 3, 5])):
        mean = x[members, 0, :, :4].mean(0)
        assert torch.equal(grid.tiles[row, :3], x[members])
        assert torch.equal(grid.tiles[row, 3:6], x[members])
        for i, member in enumerate(members):
            pooled = grid.tiles[row, 6 + i, 0]
            torch.testing.assert_close(pooled[:, :4], mean)
            assert torch.equal(pooled[:, 4:], x[member, 0, :, 4:])


def test_evidence_accumulates_the_first_k_observations_of_each_group():
    x = torch.rand(7, 1, 8, 8)
    batch = GroupedData(x, ["a", "b", "a", "b", "a", "b", "a"]).batch()
    grid = evidence_grid(Sides(), batch)
    assert grid.columns[1:] == ["k = 1", "k = 2", "k = 3"] and grid.rows == ["a", "b"]
    for row, members in enumerate(([0, 2, 4], [1, 3, 5])):
        assert torch.equal(grid.tiles[row, 0], x[members[0]])
        for k in (1, 2, 3):
            image = grid.tiles[row, k, 0]
            torch.testing.assert_close(image[:, :4], x[members[:k], 0, :, :4].mean(0))
            assert torch.equal(image[:, 4:], x[members[0], 0, :, 4:])
    with pytest.raises(InputError, match="smallest group, 3"):
        evidence_grid(Sides(), batch, counts=[1, 4])


def test_a_traversal_moves_one_dimension_at_a_time():
    x = torch.rand(1, 1, 8, 8)
    grid = traversal_grid(Sides(), Batch.ungrouped(x), steps=5, span=1.0, most=33)
    assert grid.rows[0] == "content 1" and grid.rows[32] == "style 1" and grid.below == [32]
    assert grid.columns == ["-1", "-0.5", "0", "0.5", "1"]
    for row, pixel in ((0, (0, 0)), (32, (0, 4))):  # first of the content, first of the style
        for column, value in enumerate((-1.0, -0.5, 0.0, 0.5, 1.0)):
            expected = x[0, 0].clone()
            expected[pixel] = max(0.0, value)  # drawn within [0, 1]
            torch.testing.assert_close(grid.tiles[row, column, 0], expected)


def test_a_model_with_one_latent_has_its_own_layouts():
    model = VAE((1, 8, 8), latent_dim=3)
    pair = Batch.ungrouped(torch.rand(2, 1, 8, 8))
    assert interpolation_grid(model, pair, steps=4).tiles.shape[:2] == (1, 4)
    assert generation_grid(model, pair).tiles.shape[:2] == (8, 8)
    one = pair.singles(torch.tensor([0]))
    grid = traversal_grid(model, one, steps=4)
    assert grid.tiles.shape[:2] == (3, 4) and grid.rows == ["latent 1", "latent 2", "latent 3"]


def test_bytes_and_floats_give_the_same_grids(small_model):
    model = small_model().eval()
    x = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    groups = Groups.of([0, 0, 1, 1])
    grids = {
        swap_grid,
        reconstruction_grid,
        interpolation_grid,
        accumulation_grid,
        evidence_grid,
        traversal_grid,
        lambda model, batch: generation_grid(
            model, batch, generator=torch.Generator().manual_seed(0)
        ),
    }
    for grid in grids:
        shown = grid(model, Batch(x, groups)).tiles
        torch.testing.assert_close(shown, grid(model, Batch(x.float() / 255, groups)).tiles)
        assert 0.05 < float(shown.mean()) < 0.95
    data = GroupedData(x, [0, 0, 1, 1])
    floats = GroupedData(x.float() / 255, [0, 0, 1, 1])
    for name, shown in pictures(model, data).items():
        torch.testing.assert_close(shown.tiles, pictures(model, floats)[name].tiles)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_without_style_has_no_swaps(channels):
    vae = VAE((channels, 8, 8), latent_dim=2)
    data = GroupedData(torch.zeros(2, channels, 8, 8, dtype=torch.uint8), [0, 1])
    with pytest.raises(InputError, match=r"latent.*reconstruction_grid"):
        swap_grid(vae, data.batch())
