import numpy as np
import pytest

from mlvae.evaluation import charts


@pytest.fixture
def canvas(monkeypatch):
    """Charts return the figure of matplotlib."""
    monkeypatch.setattr(charts, "_saved", lambda name, caption, canvas: canvas)


@pytest.mark.parametrize("number", [9, 70])
def test_every_label_of_a_scatter_plot_has_its_own_colour_and_marker(canvas, number):
    labels = [f"label {i:02}" for i in range(number)]
    points = np.random.default_rng(0).random((number, 2))
    figure = charts.scatter("name", "caption", {"panel": points}, labels)
    looks = {
        (tuple(series.get_facecolor()[0]), series.get_paths()[0].vertices.tobytes())
        for series in figure.axes[0].collections
    }
    assert len(looks) == number
    assert len({colour for colour, _ in looks}) == min(number, 10)


def test_labels_beyond_the_pairs_of_colour_and_marker_are_named_as_others(canvas):
    labels = [f"label {i:03}" for i in range(charts.MOST_LOOKS + 5)]
    points = np.random.default_rng(0).random((len(labels), 2))
    figure = charts.scatter("name", "caption", {"panel": points}, labels)
    *series, others = figure.axes[0].collections
    assert len(series) == charts.MOST_LOOKS == 70 and len(others.get_offsets()) == 5
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "5 other labels"


def test_every_curve_has_its_own_colour_and_marker(canvas):
    curve = {1.0: (0.5, 0.1), 2.0: (0.6, float("nan"))}
    panels = {"accuracy": {f"code {i}": curve for i in range(20)}}
    figure = charts.curves("name", "caption", panels, x_label="k")
    lines = [container.lines[0] for container in figure.axes[0].containers]
    looks = {(line.get_color(), line.get_marker()) for line in lines}
    assert len(looks) == len(lines) == 20


def test_labels_of_reference_lines_are_in_the_legend_and_each_has_its_own_look(canvas):
    curve = {1.0: (0.5, 0.1), 10.0: (0.6, 0.1)}
    lines = {"left": {"chance": {1.0: 0.1, 10.0: 0.1}}, "right": {"entropy": {1.0: 3, 10.0: 2}}}
    panels = {"left": {"content": curve}, "right": {"content": curve}}
    figure = charts.curves("name", "caption", panels, x_label="k", lines=lines)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "content",
        "chance",
        "entropy",
    ]
    looks = {(h.get_linestyle(), h.get_linewidth()) for h in figure.legends[0].get_lines()[-2:]}
    assert len(looks) == 2 and not any(ax.texts for ax in figure.axes)
    assert all(ax.get_xscale() == "log" for ax in figure.axes)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["1", "10"]


def test_short_labels_are_the_markers(canvas):
    points = np.random.default_rng(0).random((3, 2))
    figure = charts.scatter("name", "caption", {"panel": points}, ["1", "2", "3"])
    assert len(figure.axes[0].collections) == 3 and not figure.legends
