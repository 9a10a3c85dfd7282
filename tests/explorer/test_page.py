"""The whole page in Chromium: no request leaves it; clicks, sliders, keys and both themes work."""

import json
import re

import numpy as np
import pytest
import torch

import mlvae
from mlvae.data import GroupedData, Splits
from mlvae.models import MLVAE, VAE
from mlvae.networks import MLP, Conv1d

PHONE = 390


@pytest.fixture(scope="module")
def digits():
    """Four known digits and one unseen one, with few observations."""
    splits = mlvae.data.digits(unseen_groups=[7])
    known = torch.isin(splits.test.groups.index, torch.arange(4))
    few = splits.unseen.subset(torch.arange(20))
    return Splits(splits.train, test=splits.test.subset(known), unseen=few)


@pytest.fixture(scope="module")
def model(digits):
    torch.manual_seed(0)
    model = MLVAE(digits.train.shape, content_dim=4, style_dim=3, network=MLP((32,)))
    with torch.no_grad():  # so that every latent matters
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model.eval()


@pytest.fixture(scope="module")
def path(digits, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return mlvae.explore(
        model, digits, folder / "explore.html", members=6, title="<Digits> & more"
    )


@pytest.fixture
def page(path, browser):
    """The page, newly opened."""
    browser.open(path)
    return browser


def decoded(browser):
    return np.array(browser.run("Array.from(explorer.decoded)"))


def choice(browser, code):
    return browser.run(f"explorer.panels.{code}.choice")


def dot(browser, code, number):
    return browser.place(f"#map-{code}-{number} .mark")


def test_ten_swaps_have_the_values_of_pytorch(page, model):
    generator = torch.Generator().manual_seed(3)
    content = torch.randn(10, 4, generator=generator)
    style = torch.randn(10, 3, generator=generator)
    with torch.no_grad():
        expected = model.decode(content=content, style=style).flatten(1)
    for c, s, values in zip(content.tolist(), style.tolist(), expected, strict=True):
        found = page.run(f"explorer.decode({{content: {c}, style: {s}}})")
        np.testing.assert_allclose(found, values, atol=1e-4)
    assert page.run("explorer.difference") < 1e-4  # the page compares ten swaps of its own


def test_the_content_of_k_members_is_that_of_the_model(page, model, digits):
    labels = page.run("explorer.groupings.group.labels")
    assert labels == ["0", "1", "2", "3", "7"]
    assert page.run("explorer.groupings.group.unseen") == [False] * 4 + [True]
    means = np.array(page.run("Array.from(explorer.panels.style.points, (p) => p.mean)"))
    members = page.run("explorer.groupings.group.members")
    x = torch.cat([digits.test.x, digits.unseen.x])
    with torch.no_grad():
        styles = model.infer_style(x).mean.numpy()
    for group, k in ((0, 1), (3, 4), (4, 6)):
        distances = np.abs(means[members[group][:k], None] - styles[None]).sum(2)
        assert distances.min(1).max() < 1e-5  # each member is an observation of the data
        own = x[torch.from_numpy(distances.argmin(1))]
        with torch.no_grad():
            expected = model.infer_content(own, [0] * k)
        found = page.run(f"explorer.posterior('content', {group}, {k})")
        np.testing.assert_allclose(found["mean"], expected.mean[0], atol=1e-4)
        np.testing.assert_allclose(found["variance"], expected.variance[0], rtol=1e-4)


def test_no_request_leaves_the_page_and_no_script_fails(page, path):
    assert page.requests() == [] and page.errors() == []
    text = path.read_text()
    markup = text.split("<script")[0]
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:)[^"'\s>]+""", markup)
    # The policy of the page stops what a later change may try.
    assert (
        page.run("fetch('https://example.com').then(() => 'sent', () => 'stopped')") == "stopped"
    )


def test_a_click_on_a_content_and_on_a_style_decodes_their_swap(page):
    before = decoded(page)
    page.click(*dot(page, "content", 2))
    assert choice(page, "content") == {"from": 2, "to": None, "share": 0}
    after = decoded(page)
    assert np.abs(after - before).max() > 1e-3
    page.click(*dot(page, "style", 1))
    assert choice(page, "style")["from"] == 1
    both = page.run(
        "explorer.decode({content: explorer.panels.content.points[2].mean, "
        "style: explorer.panels.style.points[1].mean})"
    )
    np.testing.assert_allclose(decoded(page), both, atol=1e-6)
    caption = page.run("document.getElementById('caption').textContent")
    assert caption == "Content of 2, style of 0 2"


def test_dragging_from_one_content_to_another_interpolates(page):
    start, end = dot(page, "content", 0), dot(page, "content", 3)
    start = dot(page, "content", 0)  # the page may have scrolled
    page.pointer("Pressed", *start)
    middle = [a + 0.75 * (b - a) for a, b in zip(start, end, strict=True)]
    page.pointer("Moved", *middle)
    page.pointer("Moved", *end)
    page.pointer("Released", *end, buttons=0)
    page.frame()
    found = choice(page, "content")
    assert (found["from"], found["to"]) == (0, 3) and found["share"] > 0.95
    page.run(
        "(() => { const way = explorer.panels.content.way; way.value = '0.5';"
        " way.dispatchEvent(new Event('input')); })()"
    )
    page.frame()
    ends = np.array(page.run("[0, 3].map((i) => explorer.panels.content.points[i].mean)"))
    value = np.array(page.run("explorer.panels.content.value"))
    np.testing.assert_allclose(value, ends.mean(0), atol=1e-6)
    assert page.run("document.querySelectorAll('.strip canvas').length") == 7


def test_a_slider_moves_one_dimension_of_the_style(page):
    before, value = decoded(page), page.run("explorer.panels.style.value")
    page.place("#own input[aria-label='Style, dimension 2']")
    page.run("document.querySelector(\"#own input[aria-label='Style, dimension 2']\").focus()")
    page.key("ArrowRight", code=39)
    page.key("ArrowRight", code=39)
    moved = page.run("explorer.panels.style.value")
    assert moved[1] > value[1] and [moved[0], moved[2]] == [value[0], value[2]]
    assert np.abs(decoded(page) - before).max() > 1e-5


def test_more_members_shrink_the_posterior(page):
    page.run("document.getElementById('members').focus()")
    ellipse = "Number(document.querySelectorAll('#shared ellipse')[1].getAttribute('rx'))"
    all_members, text = (
        page.run(ellipse),
        page.run("document.querySelector('.evidence').innerText"),
    )
    assert "6 of 6 members" in text
    page.key("Home", code=36)
    assert page.run("explorer.state.members") == 1
    assert page.run(ellipse) > 1.5 * all_members
    assert "1 of 6 members" in page.run("document.querySelector('.evidence').innerText")
    waiting = page.run("document.querySelectorAll('.members .waiting').length")
    assert waiting == 5


def test_keys_choose_dots_and_interpolations(page):
    page.run("document.querySelector('#shared .map').focus()")
    page.key("3")
    assert choice(page, "content")["from"] == 3
    page.key("7")
    assert choice(page, "content")["from"] == 4
    page.key("Home", code=36)
    first = choice(page, "content")["from"]
    moved = []
    for code, name in ((37, "ArrowLeft"), (38, "ArrowUp"), (39, "ArrowRight"), (40, "ArrowDown")):
        page.key("Home", code=36)
        page.key(name, code=code)
        moved.append(choice(page, "content")["from"])
    assert first == 0 and set(moved) > {0}
    page.key("Home", code=36)
    name, code = next(
        pair
        for pair, found in zip(
            (("ArrowLeft", 37), ("ArrowUp", 38), ("ArrowRight", 39), ("ArrowDown", 40)),
            moved,
            strict=True,
        )
        if found
    )
    page.key(name, shift=True, code=code)
    found = choice(page, "content")
    assert found["from"] == 0 and found["to"] is not None and found["share"] == 0.5
    page.key("Escape", code=27)
    assert choice(page, "content")["to"] is None


def test_a_screen_reader_finds_names_roles_and_the_present_state(page):
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node.get("ignored") and "role" in node
    ]
    named = [(role.lower(), name) for role, name in named]
    assert {"heading", "listbox", "option", "slider", "button", "main"} <= {r for r, _ in named}
    maps = [name for role, name in named if role == "listbox"]
    assert len(maps) == 2 and all("Map of" in name for name in maps)
    assert all(name for role, name in named if role in ("slider", "button", "option"))
    caption = page.run("document.getElementById('caption').textContent")
    assert ("image", f"Decoded: {caption[0].lower()}{caption[1:]}") in named
    assert page.run("document.getElementById('caption').getAttribute('aria-live')") == "polite"


def luminance(colour):
    """Relative luminance of "rgb(r, g, b)" (WCAG 2.2)."""
    levels = [int(level) / 255 for level in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast_in_both_themes_and_the_button_changes_them(theme, path, browser):
    browser.open(path, theme=theme)
    colours = """(() => {
      const of = (selector) => getComputedStyle(document.querySelector(selector));
      return [of("body").backgroundColor, of("body").color, of(".small").color];
    })()"""
    ground, text, soft = (luminance(colour) for colour in browser.run(colours))
    assert (ground < 0.1) == (theme == "dark")
    for other in (text, soft):
        low, high = sorted((ground, other))
        assert (high + 0.05) / (low + 0.05) > 4.5
    browser.click(*browser.place("#theme"))
    changed = luminance(browser.run(colours)[0])
    assert (changed < 0.1) == (theme == "light")


def test_a_phone_needs_no_sideways_scrolling(path, browser):
    browser.open(path, width=PHONE, height=800)
    assert browser.run("document.documentElement.scrollWidth") <= PHONE
    left, right = browser.run(
        "(() => { const box = document.querySelector('#own .map').getBoundingClientRect();"
        " return [box.left, box.right]; })()"
    )
    assert left >= 0 and right <= PHONE and right - left > 250


def test_labels_of_the_data_are_text_and_never_markup(tmp_path, browser):
    names = ["</script><script>window.broken = 1</script>", "<b>&amp;</b>"]
    data = GroupedData(torch.rand(8, 5), [names[i % 2] for i in range(8)])
    model = MLVAE((5,), content_dim=2, style_dim=2, network=MLP((8,)))
    path = mlvae.explore(model, data, tmp_path / "explore.html", title=names[0])
    browser.open(path)
    assert browser.run("window.broken === undefined")
    assert sorted(browser.run("explorer.groupings.group.labels")) == sorted(names)
    assert browser.run("document.querySelector('h1').textContent") == names[0]


def test_a_table_has_a_row_for_each_feature(tmp_path, browser):
    pandas = pytest.importorskip("pandas")
    generator = torch.Generator().manual_seed(0)
    frame = pandas.DataFrame(torch.randn(30, 4, generator=generator).numpy(), columns=list("abcd"))
    frame["donor"] = [f"donor {i % 5}" for i in range(30)]
    data = GroupedData.from_frame(frame, group="donor")
    model = MLVAE((4,), network=MLP((8,)), likelihood=mlvae.likelihoods.Gaussian())
    browser.open(mlvae.explore(model, data, tmp_path / "explore.html"))
    assert browser.errors() == []
    cells = browser.run(
        "Array.from(document.querySelectorAll('tbody tr'), (row) => row.innerText.split(/\\s+/))"
    )
    assert [row[0] for row in cells] == list("abcd")
    values = [float(row[1]) for row in cells]
    np.testing.assert_allclose(values, decoded(browser), rtol=1e-3, atol=1e-4)


def test_a_signal_has_a_line_for_each_channel(tmp_path, browser):
    data = GroupedData(torch.randn(12, 2, 30), [i % 3 for i in range(12)])
    model = MLVAE((2, 30), network=Conv1d((8,)), likelihood=mlvae.likelihoods.Gaussian())
    browser.open(mlvae.explore(model, data, tmp_path / "explore.html"))
    assert browser.errors() == []
    assert browser.run("document.querySelectorAll('.signal path.decoded').length") == 2
    assert browser.run("document.querySelectorAll('.signal path.own').length") == 2


def test_a_model_without_content_has_one_map(tmp_path, browser, digits):
    model = VAE(digits.train.shape, latent_dim=3, network=MLP((8,)))
    browser.open(mlvae.explore(model, digits, tmp_path / "explore.html", members=2))
    assert browser.errors() == []
    assert browser.run("Object.keys(explorer.panels)") == ["latent"]
    assert browser.run("document.querySelectorAll('.map').length") == 1


def test_two_groupings_have_a_map_of_contents_each(tmp_path, browser):
    generator = torch.Generator().manual_seed(0)
    groups = {
        "speaker": [f"s{i % 3}" for i in range(24)],
        "digit": [i // 6 for i in range(24)],
    }
    x = torch.randn(24, 5, generator=generator)
    data = GroupedData(x, groups=groups)
    model = MLVAE(
        (5,),
        content_dim={"speaker": 3, "digit": 4},
        style_dim=2,
        network=MLP((8,)),
        likelihood=mlvae.likelihoods.Gaussian(),
    ).eval()
    browser.open(mlvae.explore(model, data, tmp_path / "explore.html", members=99))
    assert browser.errors() == []
    assert browser.run("Object.keys(explorer.panels)") == [
        "content_speaker",
        "content_digit",
        "style",
    ]
    assert browser.run("document.querySelectorAll('.map').length") == 3
    with torch.no_grad():
        contents = model.infer_contents(x, groups=groups)
        expected = model.decode(
            contents={name: q.mean[1:2] for name, q in contents.items()}, style=torch.ones(1, 2)
        )
    means = {}
    for name, q in contents.items():
        found = browser.run(f"explorer.posterior('content_{name}', 1, 99)")
        np.testing.assert_allclose(found["mean"], q.mean[1], atol=1e-4)
        np.testing.assert_allclose(found["variance"], q.variance[1], rtol=1e-4)
        means[f"content_{name}"] = found["mean"]
    latents = json.dumps({**means, "style": [1, 1]})
    found = browser.run(f"explorer.decode({latents})")
    np.testing.assert_allclose(found, expected[0], atol=1e-4)
