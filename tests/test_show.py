"""Figures of a model by one call."""

import io
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import mlvae
from mlvae import GroupedData, InputError, show
from mlvae.grids import swap_grid
from mlvae.likelihoods import Gaussian
from mlvae.models import VAE, ConditionalVAE
from mlvae.networks import MLP

VIEWS = ["swaps", "reconstructions", "samples", "interpolations", "evidence", "traversals"]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def raster(figure: Any) -> np.ndarray:
    return figure.axes[0].images[0].get_array()


def segments(figure: Any) -> list[np.ndarray]:
    (lines,) = figure.axes[0].collections
    return lines.get_segments()


def png(figure):
    return np.asarray(Image.open(io.BytesIO(figure._repr_png_())).convert("RGB"))


@pytest.fixture
def series_model():
    return mlvae.models.MLVAE((2, 30), network=MLP((8,)), likelihood=Gaussian())


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_draws_images_and_series(view, small_model, series_model, digits):
    series = GroupedData(torch.randn(12, 2, 30), ["ann", "bob", "eve"] * 4)
    for model, data in ((small_model(), digits.test), (series_model, series)):
        figure: Any = getattr(show, view)(model, data)
        assert png(figure).std() > 10 and texts(figure)
        assert model.training  # as before


def test_a_swap_of_arrays_has_the_given_labels_on_both_axes(small_model, digits):
    figure = show.swaps(small_model(), digits.test.x[:3], labels=["ann", "_b", "$c$"])
    found = texts(figure)
    for label in ("ann", "_b", "$c$"):
        assert found.count(label) == 2
    assert {"content of", "style of"} <= set(found)
    assert texts(show.swaps(small_model(), digits.test.x[:3])).count("3") == 2


def test_groups_of_arrays_are_columns_in_sorted_order(small_model, digits):
    model, x = small_model().eval(), digits.test.x[:5]
    groups = ["b", "a", "b", "a", "c"]
    figure = show.swaps(model, x, groups)
    expected = swap_grid(model, GroupedData(x, groups).batch())
    assert [t for t in texts(figure) if t in "abc"] == 2 * list(expected.columns[1:])
    assert np.array_equal(raster(figure), raster(show.swaps(model, GroupedData(x, groups))))


def test_the_pixels_of_a_figure_are_those_of_the_observations(small_model, digits):
    x = digits.test.x[:2]
    drawn = raster(show.reconstructions(small_model(), x))
    tile = drawn[6 : 6 + 56 : 7, 6 : 6 + 56 : 7, 0]
    np.testing.assert_allclose(tile, x[0, 0].numpy(), rtol=1e-6)
    assert (drawn[5, 5:63] < 1).all() and (drawn[:5] == 1).all()  # a thin frame


def test_only_the_first_groups_are_drawn(small_model, digits):
    found = texts(show.swaps(small_model(), digits.test, most=3))
    assert found.count("2") == 2 and "3" not in found
    assert "4" not in texts(show.reconstructions(small_model(), digits.test.x[:9], most=3))


def test_all_series_of_a_figure_have_one_scale(series_model):
    x = torch.zeros(2, 2, 30)
    x[1, 0, 7] = 40.0
    figure = show.reconstructions(series_model, x)
    assert len(segments(figure)) == 2 * 2 * 2
    assert any("40" in text for text in texts(figure))


@pytest.mark.parametrize(("channels", "lines"), [(8, True), (9, False)])
def test_series_of_many_channels_are_heat_maps_of_one_scale(channels, lines):
    model = VAE((channels, 30), latent_dim=2, network=MLP((2,)), likelihood=Gaussian())
    x = torch.zeros(2, channels, 30)
    x[0, 0, 3], x[1, channels - 1, 29] = 40.0, -20.0
    figure = show.reconstructions(model, x)
    assert bool(figure.axes[0].collections) == lines
    assert any("-20" in text and "40" in text for text in texts(figure))
    if lines:
        return
    pixels = raster(figure)
    bright, dark = (np.abs(pixels - end).sum(-1) for end in MAGMA)
    lightest, darkest = ((where < 0.05).nonzero() for where in (bright, dark))
    # Cells of 2 by 2 pixels each: the first channel is at the bottom, the first time at the left.
    assert len(lightest[0]) == len(darkest[0]) == 4
    assert darkest[0].min() < lightest[0].min() and lightest[1].min() != darkest[1].min()


MAGMA = ([0.987053, 0.991438, 0.749504], [0.001462, 0.000466, 0.013866])


def test_long_series_keep_their_extremes():
    x = torch.zeros(1, 50_000)
    x[0, 31_234], x[0, 5] = 7.0, -3.0
    figure = show.reconstructions(
        VAE((50_000,), latent_dim=2, network=MLP((2,)), likelihood=Gaussian()), x
    )
    line = segments(figure)[0]
    assert len(line) <= 400
    assert np.ptp(line[:, 1]) > 0.9 * (56 - 6)


def test_labels_are_inert_and_characters_without_a_font_are_escaped(small_model, digits):
    labels = ["$x_1$", "\U0010fffd", "a" * 90, "\u202eabc"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = show.swaps(small_model(), digits.test.x[:4], labels=labels)
        png(figure)
    found = texts(figure)
    assert "$x_1$" in found and "\\U0010fffd" in found
    assert all(len(text) <= 20 for text in found if "aaa" in text)
    assert not any("\u202e" in text for text in found)
    assert not any(text.get_parse_math() for text in figure.axes[0].texts)


def test_texts_do_not_leave_the_figure_and_do_not_lie_on_the_cells(small_model, digits):
    labels = ["a rather long label", "b", "c"]
    for view in (show.swaps, show.reconstructions, show.evidence):
        figure = view(small_model(), digits.test.x[:3], labels=labels)
        width, height = figure.get_size_inches() * figure.dpi
        cells = figure.axes[0].get_window_extent()
        for text in figure.axes[0].texts:
            if not text.get_text():
                continue
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
            assert not (
                box.x0 < cells.x1 and box.x1 > cells.x0 and box.y0 < cells.y1 and box.y1 > cells.y0
            ), text.get_text()


def test_a_model_that_needs_labels_is_drawn_with_those_of_the_groups(digits):
    model = ConditionalVAE(
        (1, 8, 8), group_names=digits.train.group_names, content_dim=2, network=MLP((8,))
    )
    assert png(show.swaps(model, digits.test)).std() > 10
    figure = show.swaps(model, digits.test.x[:4], groups=[3, 1, 3, 0])
    assert texts(figure).count("3") == 2


def test_a_model_without_content_and_style_has_no_swaps(digits):
    with pytest.raises(InputError, match="latent"):
        show.swaps(VAE((1, 8, 8), latent_dim=2), digits.test)


def test_arguments_that_do_not_fit_are_refused(small_model, digits):
    with pytest.raises(InputError, match="groups"):
        show.swaps(small_model(), digits.test, groups=[1])
    with pytest.raises(InputError, match=r"labels .* 10"):
        show.swaps(small_model(), digits.test, labels=["a"])
    with pytest.raises(InputError, match=r"\(N, 1, 8, 8\)"):
        show.swaps(small_model(), torch.rand(3, 1, 9, 9))
    with pytest.raises(InputError, match=r"\(1, 8, 8\).*\(1, 9, 9\)"):
        show.swaps(small_model(), GroupedData(torch.rand(3, 1, 9, 9), [0, 1, 2]))


def test_matplotlib_is_imported_by_the_first_picture_and_pyplot_never():
    script = """
import sys, mlvae
assert not any(name.split(".")[0] == "matplotlib" for name in sys.modules)
digits = mlvae.data.digits()
mlvae.show.swaps(mlvae.models.MLVAE((1, 8, 8)), digits.test)
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


def table(features, named=True):
    x = torch.randn(12, features) * 10 ** torch.linspace(-2, 3, features)
    names = [f"gene{place}" for place in range(features)] if named else None
    return GroupedData(x, ["ann", "bob", "eve"] * 4, feature_names=names)


def bars(figure: Any) -> list[np.ndarray]:
    """Heights of the bars, cell by cell."""
    (shapes,) = figure.axes[0].collections
    return [path.vertices[0, 1] - path.vertices[1, 1] for path in shapes.get_paths()]


@pytest.mark.parametrize("view", VIEWS)
def test_rows_of_a_table_are_bars_with_the_names_of_features(view):
    model = mlvae.models.MLVAE((5,), network=MLP((8,)), likelihood=Gaussian())
    figure: Any = getattr(show, view)(model, table(5))
    assert [texts(figure).count(f"gene{place}") for place in range(5)] == [1] * 5
    assert png(figure).std() > 10


def test_every_feature_has_a_scale_of_its_own():
    model = mlvae.models.MLVAE((5,), network=MLP((8,)), likelihood=Gaussian())
    data = table(5)
    heights = np.reshape(bars(show.reconstructions(model, data)), (-1, 5))
    cells = heights[:3] / np.abs(heights).max(0)  # the observations
    x = data.x[data.one_of_each()].double()
    order = x.argsort(0)
    np.testing.assert_array_equal(np.argsort(cells, 0), order)
    assert np.abs(heights).max() <= 25 and np.abs(heights).max(0).min() > 24


@pytest.mark.parametrize("features", [30, 60])
def test_the_note_lists_the_names_of_many_features(features):
    model = mlvae.models.MLVAE((features,), network=MLP((8,)), likelihood=Gaussian())
    note = " ".join(texts(show.swaps(model, table(features)))[-1].split())
    assert "gene0, gene1" in note and "gene29" in note and ("(60)" in note) == (features == 60)


def test_a_table_without_names_is_drawn_as_lines():
    model = mlvae.models.MLVAE((5,), network=MLP((8,)), likelihood=Gaussian())
    figure = show.swaps(model, table(5, named=False))
    assert len(segments(figure)) > 0 and "Vertical range" in texts(figure)[-1]


def test_a_data_frame_is_shown():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 2)), columns=["age", "dose"])
    model = mlvae.models.MLVAE((2,), network=MLP((8,)), likelihood=Gaussian())
    frame = frame.assign(donor=["a", "b", "c"] * 2)
    assert {"age", "dose", "a", "b", "c"} <= set(texts(show.swaps(model, frame, "donor")))
