"""The clients of the documentation give the contents of the model, in Python and in JavaScript."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

from mlvae import Groups
from mlvae.exporting.codes import ExportedCode

#: Observations of each group: ragged, and interleaved.
LABELS = ["ann", "bob", "ann", "eve", "ann", "bob", "eve", "ann", "ann", "dan"]


def images(number):
    generator = torch.Generator().manual_seed(number)
    return torch.randint(256, (number, 1, 9, 7), dtype=torch.uint8, generator=generator).numpy()


def posteriors(model, x, labels):
    """Mean and variance of the content of each group by its label, of PyTorch."""
    with torch.no_grad():
        found = model.infer_content(x, Groups.of(labels))
    pairs = zip(found.mean.numpy(), found.variance.numpy(), strict=True)
    return dict(zip(sorted(set(labels)), pairs, strict=True))


@pytest.mark.parametrize("number", range(1, 11))
def test_the_client_in_python_gives_the_contents_of_ragged_groups(number, exported, client):
    model, folder = exported
    x, labels = images(number), LABELS[:number]
    contents = client(folder)
    contents.add(x, labels)
    for label, expected in posteriors(model, x, labels).items():
        found = contents.posterior(label)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_observations_may_come_one_after_the_other(exported, client):
    model, folder = exported
    x, contents = images(10), client(folder)
    for row, label in enumerate(LABELS):
        contents.add(x[row : row + 1], [label])
        known = posteriors(model, x[: row + 1], LABELS[: row + 1])
        found = contents.posterior(label)
        np.testing.assert_allclose(found, known[label], rtol=1e-5, atol=1e-5)


def test_the_style_and_the_decoder_complete_a_swap(exported, client):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, folder = exported
    x, contents = images(2), client(folder)
    contents.add(x, ["a", "b"])
    content = np.float32([contents.posterior("a")[0]])
    own = np.float32([contents.posterior("b")[0]])
    open_graph = onnxruntime.InferenceSession
    style = open_graph(folder / "style.onnx").run(["style_mean"], {"x": x[1:], "content": own})[0]
    decoder = open_graph(folder / "decoder.onnx")
    swap = decoder.run(None, {"content": content, "style": style})[0]
    np.testing.assert_allclose(swap, model.swap(x[:1], x[1:]).numpy(), rtol=1e-5, atol=1e-5)


def test_a_graph_of_bytes_refuses_floats(exported, client):
    _, folder = exported
    with pytest.raises(Exception, match="uint8"):
        client(folder).add(np.zeros((1, 1, 9, 7), np.float32), ["a"])


class Session:
    """An encoder that returns columns of numbers."""

    def __init__(self, values):
        self.values = values

    def run(self, names, inputs):
        """The columns by their names."""
        return [self.values[name] for name in names]


@pytest.mark.parametrize(
    ("kind", "prior"),
    [("precisions", 0.0), ("precisions", 1.0), ("means", None), ("counts", [2, 1])],
)
def test_the_client_in_python_knows_every_kind_of_sum(kind, prior, client):
    columns = {
        "a": np.float32([[1.0, 2.0], [3.0, 5.0]]),
        "b": np.float32([[0.5, 4.0], [2.5, 6.0]]),
    }
    names = ("a",) if kind == "counts" else ("a", "b")
    contents = client.__new__(client)
    contents.code = ExportedCode("content", 2, kind, names, "group", "rule", prior).record()
    contents.encoder, contents.sums = Session(columns), {}
    contents.add(None, ["g", "g"])
    mean, variance = contents.posterior("g")
    a, b = columns["a"].sum(0), columns["b"].sum(0)
    if kind == "means":
        expected = a / 2, b / 2
    elif kind == "counts":
        found = torch.distributions.Dirichlet(torch.tensor(prior) + torch.from_numpy(a))
        expected = found.mean.numpy(), found.variance.numpy()
    else:
        expected = b / (prior + a), 1 / (prior + a)
    np.testing.assert_allclose((mean, variance), expected, rtol=1e-6)


DRIVER = """
const fs = require("fs");
const ort = require(process.argv[2]);
const record = JSON.parse(fs.readFileSync(process.argv[3] + "/mlvae.json", "utf8"));
const encoder = fs.readFileSync(process.argv[3] + "/encoder.onnx");
const given = JSON.parse(fs.readFileSync(0, "utf8"));
(async () => {
  const contents = await Contents.open(ort, encoder, record);
  const length = given.x.length / given.labels.length;
  let place = 0;
  for (const size of given.sizes) {
    const x = Uint8Array.from(given.x.slice(place * length, (place + size) * length));
    await contents.add(x, given.labels.slice(place, place + size));
    place += size;
  }
  const names = [...contents.sums.keys()];
  const found = names.map((name) => [name, contents.posterior(name)]);
  const plain = found.map(([name, q]) => [name, [Array.from(q.mean), Array.from(q.variance)]]);
  console.log(JSON.stringify(Object.fromEntries(plain)));
})();
"""


@pytest.fixture(scope="module")
def node():
    """Node and the name of a package of ONNX Runtime that it finds (NODE_PATH names folders)."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not on this machine")
    for package in ("onnxruntime-node", "onnxruntime-web"):
        code = f"require.resolve({package!r})"
        if subprocess.run([program, "-e", code], capture_output=True, check=False).returncode == 0:
            return program, package
    pytest.skip("node finds neither onnxruntime-node nor onnxruntime-web; set NODE_PATH")


def test_the_client_in_javascript_gives_the_contents_of_the_model(
    exported, client_js, node, tmp_path
):
    model, folder = exported
    program, package = node
    (tmp_path / "client.js").write_text(client_js + DRIVER)
    x = images(10)
    given = {"x": x.ravel().tolist(), "labels": LABELS, "sizes": [1, 2, 7]}
    done = subprocess.run(
        [program, str(tmp_path / "client.js"), package, str(folder)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    expected = posteriors(model, x, LABELS)
    assert found.keys() == expected.keys()
    for label, values in expected.items():
        np.testing.assert_allclose(found[label], values, rtol=1e-5, atol=1e-5)
