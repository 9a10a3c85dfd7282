"""The folder of an evaluation is written completely or not at all; its page is self-contained."""

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

import mlvae
from mlvae import InputError
from mlvae.evaluation import Embedding, Likelihood, Manipulation, Separation, Unseen, evaluate
from mlvae.evaluation.answer import Answer, Estimate, Table
from mlvae.evaluation.report import json_values, page
from mlvae.evaluation.verdict import NO_VERDICT

QUESTIONS = [
    Separation(k=(1, 2), probes=("logistic",), seeds=2),
    Unseen(),
    Manipulation(),
    Embedding(method="pca"),
    Likelihood(sizes=(1, 4), groups=5, num_content=(1, 4), num_style=2),
]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The folder of an evaluation, and the return value of :func:`evaluate`."""
    folder = tmp_path_factory.mktemp("run") / "evaluation"
    model = mlvae.models.MLVAE((1, 8, 8), content_dim=3, network=mlvae.networks.MLP((16,)))
    metrics = evaluate(
        model,
        mlvae.data.digits(),
        folder,
        questions=QUESTIONS,
        workers=1,
        config="model: <small>",
        progress=False,
    )
    return folder, metrics


def test_the_folder_has_all_files(evaluated):
    folder, metrics = evaluated
    files = {path.name for path in folder.iterdir()}
    assert {"metrics.json", "report.html", "projector", "swaps_test.png"} <= files
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert list(metrics) == [
        "facts",
        "verdict",
        "separation",
        "unseen",
        "manipulation",
        "embedding",
        "likelihood",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["evaluation"]
    assert any((folder / "projector").rglob("projector_config.pbtxt"))


class Page(HTMLParser):
    """Sources, links and ids of a page."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.links, self.ids = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        assert tag not in ("script", "link", "iframe", "object")
        self.sources += [attributes["src"]] if "src" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        self.ids += [attributes["id"]] if "id" in attributes else []


def test_the_page_contains_all_figures(evaluated):
    folder, _ = evaluated
    text = (folder / "report.html").read_text()
    parsed = Page(text)
    assert len(parsed.sources) == len(list(folder.glob("*.png"))) >= 9
    assert all(source.startswith("data:image/") for source in parsed.sources)
    assert parsed.links and all(link[0] == "#" and link[1:] in parsed.ids for link in parsed.links)
    assert not re.search(r"url\(|@import|https?://", text.split("</style>")[0])
    assert "&lt;small&gt;" in text  # the configuration is text, not markup


def test_a_browser_shows_all_figures_without_requests(evaluated, tmp_path):
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if browser is None:
        pytest.skip("no Chromium to open the page with")
    folder, _ = evaluated
    # The page has no script. A copy with a script reports the figures and the requests.
    script = """<script>window.onload = () => { document.body.innerHTML = JSON.stringify({
        widths: [...document.images].map(i => i.complete ? i.naturalWidth : 0),
        requests: performance.getEntriesByType("resource").map(e => e.name)
            .filter(name => !name.startsWith("data:"))}); }</script></body>"""
    copy = tmp_path / "copy.html"
    copy.write_text((folder / "report.html").read_text().replace("</body>", script))
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=10000",
        "--dump-dom",
        copy.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ)
    body = re.search(r"<body>(\{.*\})", done.stdout)
    assert body is not None
    found = json.loads(body[1])
    assert len(found["widths"]) == len(list(folder.glob("*.png"))) and all(found["widths"])
    assert found["requests"] == []


def test_a_failed_evaluation_keeps_the_previous_one(small_model, digits, tmp_path):
    folder = tmp_path / "evaluation"
    options = {"workers": 1, "progress": False}
    evaluate(small_model(), digits, folder, questions=QUESTIONS[-1:], **options)
    before = (folder / "metrics.json").read_text()
    with pytest.raises(InputError, match="k=99"):
        evaluate(small_model(), digits, folder, questions=[Separation(k=(99,))], **options)
    assert (folder / "metrics.json").read_text() == before
    evaluate(small_model(), digits, folder, questions=QUESTIONS[3:4], **options)
    assert "embedding" in json.loads((folder / "metrics.json").read_text())
    assert not (folder / "likelihood.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation"]


def test_a_folder_that_cannot_be_written_is_refused(small_model, digits, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/x\b"):
        evaluate(
            small_model(),
            digits,
            tmp_path / "file" / "x",
            questions=QUESTIONS[1:2],
            progress=False,
        )


def test_values_become_json_types():
    values = {"a": Estimate(1.0, float("nan")), 2: (1, "x", float("inf"))}
    assert json_values(values) == {"a": {"mean": 1.0, "standard_error": None}, "2": [1, "x", None]}


def test_the_page_opens_with_the_verdict_and_the_picture_of_swaps(evaluated):
    text = (evaluated[0] / "report.html").read_text()
    body = text.split("<body>")[1]
    verdict, swaps = body.index("mean of its content"), body.index("Swaps of test images")
    assert verdict < body.index("<img") < swaps < body.index("<h2")
    assert body.count("<figcaption>Swaps of test images") == 1


def test_tables_fold_and_questions_without_an_answer_are_one_line_at_the_end(evaluated):
    text = (evaluated[0] / "report.html").read_text()
    assert text.count("<table") == text.count("<details>") - 1 >= 5  # and the configuration
    assert "<script" not in text
    last = text.index('id="left-out"')
    assert text.index("dataset.unseen_groups") > last > text.index('id="likelihood"')
    assert 'id="unseen"' not in text


def test_a_page_without_pictures_and_accuracies_has_the_words_no_verdict(
    small_model, digits, tmp_path
):
    evaluate(small_model(), digits, tmp_path / "e", questions=QUESTIONS[-1:], progress=False)
    body = (tmp_path / "e" / "report.html").read_text().split("<body>")[1]
    assert NO_VERDICT in body and "Swaps" not in body


def test_text_on_the_page_is_escaped():
    answer = Answer("<a>", ["<b>"], tables=[Table("<c>", ["<d>"], [["<e>"]])])
    text = page({"x": answer}, title="<f>", facts={"<g>": "<h>"})
    assert not re.search(r"<[abcdefgh]>(?!</h)", text.split("</style>")[1])
