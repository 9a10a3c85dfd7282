"""The observations of a page, and what is refused; without a browser."""

import json
import re

import numpy as np
import pytest
import torch

import mlvae
from mlvae.commands.explore import explore_by
from mlvae.data import GroupedData, Splits
from mlvae.explorer.selection import selected
from mlvae.models import MLVAE, ConditionalVAE
from mlvae.networks import MLP


def data(labels):
    return GroupedData(torch.rand(len(labels), 5), labels)


def record(path):
    """The values of a page."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="record">(.*?)</script>', text, flags=re.DOTALL)[1])


def test_every_group_has_at_most_the_members_that_are_asked_for():
    found = selected(data([0] * 10 + [1] * 2 + [2] * 5), groups=9, members=3)
    index = found.groupings["group"].index
    assert np.bincount(index).tolist() == [3, 2, 3]
    assert found.groupings["group"].sizes == [10, 2, 5]


def test_known_and_unseen_groups_share_the_page_and_are_marked():
    train, test = data(list("aabbccdd")), data(list("abcd"))
    splits = Splits(train, test=test, unseen=data(list("xxyyzz")))
    found = selected(splits, groups=4, members=2).groupings["group"]
    marks = dict(zip(found.labels, found.unseen, strict=True))
    assert sorted(marks.values()) == [False, False, True, True]
    assert {label for label, unseen in marks.items() if unseen} <= set("xyz")
    all_of_them = selected(splits, groups=99, members=2).groupings["group"]
    assert sorted(all_of_them.labels) == list("abcdxyz")


def test_a_test_split_of_other_groups_is_unseen():
    splits = Splits(data(list("aabb")), test=data(list("xy")))
    found = selected(splits, groups=9, members=2).groupings["group"]
    assert dict(zip(found.labels, found.unseen, strict=True)) == {
        "a": False,
        "b": False,
        "x": True,
        "y": True,
    }


def test_a_page_is_the_same_at_every_call(tmp_path):
    observations = data(list("aabbcc"))
    model = MLVAE((5,), network=MLP((4,)))
    one, two = (
        mlvae.explore(model, observations, tmp_path / f"{n}.html").read_text() for n in "ab"
    )
    assert one == two


def test_the_mode_of_the_model_stays(tmp_path):
    model = MLVAE((5,), network=MLP((4,))).train()
    mlvae.explore(model, data(list("ab")), tmp_path / "page.html")
    assert model.training


def test_half_precision_halves_the_weights(tmp_path):
    model = MLVAE((5,), network=MLP((400, 400)))
    sizes = [
        mlvae.explore(model, data(list("ab")), tmp_path / "p.html", precision=kind).stat().st_size
        for kind in ("float32", "float16")
    ]
    weights = 4 * sum(p.numel() for p in model.decoder.parameters() if p.ndim > 1) * 4 / 3
    assert sizes[0] - sizes[1] == pytest.approx(weights / 2, rel=0.02)


def test_a_model_of_known_groups_has_a_page_without_the_unseen_ones(tmp_path):
    train = data(list("aabb"))
    model = ConditionalVAE((5,), group_names=["a", "b"], network=MLP((4,)))
    splits = Splits(train, unseen=data(list("xx")))
    page = record(mlvae.explore(model, splits, tmp_path / "page.html"))
    assert page["left_out"] == ["unseen"]
    assert page["groupings"][0]["labels"] == ["a", "b"]
    assert {code["name"]: code["rule"] for code in page["codes"]}["content"] == "given"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"groups": 0}, "groups"),
        ({"members": 0}, "members"),
        ({"precision": "float64"}, "float64"),
        ({"data": data(list("ab")).x}, "GroupedData"),
        ({"data": GroupedData(torch.rand(2, 6), [0, 1])}, r"\(6,\)"),
        ({"run_or_model": torch.nn.Linear(2, 2)}, "Linear"),
        ({"path": 5}, "path"),
        ({"path": "."}, "path .*directory"),
        ({"path": "no/folder/page.html"}, "path no"),
        ({"facts": ["a"]}, "facts"),
    ],
)
def test_a_bad_argument_gets_one_line(change, words, tmp_path):
    arguments = {
        "run_or_model": MLVAE((5,), network=MLP((4,))),
        "data": data(list("ab")),
        "path": tmp_path / "page.html",
    }
    with pytest.raises(mlvae.InputError, match=words):
        mlvae.explore(**{**arguments, **change})


def test_observations_that_no_page_can_draw_are_refused(tmp_path):
    model = MLVAE((2, 4, 4), network=MLP((4,)), likelihood=mlvae.likelihoods.Gaussian())
    observations = GroupedData(torch.rand(4, 2, 4, 4), list("aabb"), kind="array")
    with pytest.raises(mlvae.InputError, match=r"\(2, 4, 4\)"):
        mlvae.explore(model, observations, tmp_path / "page.html")


def test_the_command_writes_the_page_of_a_run_and_links_it_from_the_report(tmp_path):
    from mlvae.commands.train import train_by
    from mlvae.evaluation.report import link_explorer, page

    run = tmp_path / "run"
    config = compose_train(run)
    train_by(config, resume=False, progress=False)
    report = run / "evaluation" / "report.html"
    report.parent.mkdir()
    report.write_text(page({}, title="t", facts={}), encoding="utf-8")
    options = {
        "run": str(run),
        "path": None,
        "best": False,
        "groups": 5,
        "members": 2,
        "precision": "float32",
        "root": None,
        "cache": None,
        "table": None,
        "parts": [],
    }
    written = explore_by(options)
    assert written == run / "explore.html" and record(written)["title"] == "MLVAE on digits"
    assert 'href="../explore.html"' in report.read_text()
    link_explorer(report, written)  # a second time
    assert report.read_text().count("../explore.html") == 1


def compose_train(run):
    from hydra import compose, initialize_config_dir

    from mlvae.commands import cli
    from mlvae.commands.configs import CONFIGS

    words = ["dataset=digits", "trainer.epochs=1", "model.network.hidden=[4]", f"run={run}"]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return cli.resolved(compose("train", words))
