"""The commands as a user runs them, in processes of their own."""

import json
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mlvae
from mlvae.training.checkpoint import read_checkpoint

SCRIPTS = Path(__file__).parent.parent / "scripts"
FAST = ["trainer.epochs=2", "model.network.hidden=[16]", "device=cpu"]


def start(script, *arguments, cwd):
    """The script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """What the process printed, once it has ended as it should."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and err == "", err
    return out


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Runs a script as `python scripts/<script>.py` does, in this process: it starts in no time.

    Returns the exit status, standard output and standard error; works in ``tmp_path``.
    """

    def run_script(script, *arguments, cwd=tmp_path, **environment):
        path = SCRIPTS / f"{script}.py"
        monkeypatch.chdir(cwd)
        monkeypatch.syspath_prepend(str(SCRIPTS))
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            code = 1 if isinstance(end.code, str) else end.code or 0
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        return code, *capsys.readouterr()

    return run_script


def tensors(path):
    """All tensors of a checkpoint, however deep, by their place in it."""
    found, rest = {}, [("", read_checkpoint(path))]
    while rest:
        name, value = rest.pop()
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            rest += [(f"{name}/{key}", inner) for key, inner in value.items()]
        elif isinstance(value, list):
            rest += [(f"{name}/{i}", inner) for i, inner in enumerate(value)]
    return found


def assert_same_tensors(a, b):
    a, b = tensors(a), tensors(b)
    assert a.keys() == b.keys() and len(a) > 20
    assert all(torch.equal(a[name], b[name]) for name in a)


def wait_for(condition):
    """Until ``condition()``, but not forever."""
    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that training with hardly any option has left, and what was printed."""
    folder = tmp_path_factory.mktemp("work")
    out = finish(start("train", *FAST, cwd=folder))
    return next((folder / "runs" / "digits").iterdir()), out


def test_training_prints_its_configuration_and_where_the_run_is(run):
    folder, out = run
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-seed0", folder.name)
    assert "content_dim: 10" in out and "the run is in runs/digits/" in out
    assert out.endswith(f"scripts/evaluate.py run=runs/digits/{folder.name}\n")
    assert [path.name for path in folder.parents[2].iterdir()] == ["runs"]  # and nothing else
    assert isinstance(mlvae.load(folder), mlvae.models.MLVAE)


def test_a_run_is_resumed_by_its_folder_alone_and_may_be_made_longer(call, tmp_path):
    call("train", *FAST[1:], "trainer.epochs=4", "run=long")
    call("train", *FAST, "run=short")
    code, out, _ = call("train", "resume=short", "trainer.epochs=4")
    assert code == 0 and "changed: trainer.epochs was 2" in out
    for name in ("checkpoint.pt", "best.pt"):
        assert_same_tensors(tmp_path / "long" / name, tmp_path / "short" / name)


def test_a_run_whose_data_have_moved_is_told_where(call, tmp_path):
    x, group = np.random.default_rng(0).random((40, 3)), np.repeat(["ann", "bob"], 20)
    np.savez(tmp_path / "mine.npz", x=x, group=group)
    call("train", "dataset=arrays", "dataset.root=mine.npz", *FAST, "run=run")
    (tmp_path / "mine.npz").rename(tmp_path / "moved.npz")
    code, _, err = call("train", "resume=run", "dataset.root=moved.npz")
    assert code == 1 and err.count("\n") == 1 and "write +dataset.root=..." in err
    code, out, err = call("train", "resume=run", "+dataset.root=moved.npz", "trainer.epochs=3")
    assert code == 0 and "changed: dataset.root was" in out, err
    code, _, err = call("train", "resume=run", "+dataset.size=9")
    assert code == 1 and err.count("\n") == 1 and "dataset.size cannot change" in err


def test_killed_at_random_moments_and_resumed_is_the_same_bit_for_bit(call, tmp_path):
    arguments = [*FAST[1:], "trainer.epochs=60", "trainer.checkpoint_seconds=0.05"]
    code, _, err = call("train", *arguments, "run=whole")
    assert code == 0, err
    moments = random.Random(0)
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    process = start("train", *arguments, "run=killed", cwd=tmp_path)
    for _ in range(2):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        wait_for(
            lambda before=before: checkpoint.exists() and checkpoint.stat().st_mtime_ns > before
        )
        time.sleep(0.3 * moments.random())
        process.kill()
        process.communicate()
        assert 0 < read_checkpoint(checkpoint)["step"] < 60 * 6
        process = start("train", "resume=killed", cwd=tmp_path)
    finish(process)
    for name in ("checkpoint.pt", "best.pt"):
        assert_same_tensors(tmp_path / "whole" / name, tmp_path / "killed" / name)


def test_a_signal_saves_and_says_how_to_go_on(tmp_path):
    process = start("train", *FAST[1:], "trainer.epochs=100000", "run=run", cwd=tmp_path)
    metrics = tmp_path / "run" / "metrics.jsonl"
    wait_for(metrics.exists)
    process.send_signal(signal.SIGTERM)
    last = finish(process).splitlines()[-1]
    assert re.match(r"stopped at step \d+ of 600000 and saved", last)
    assert "python scripts/train.py resume=run" in last
    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] > 0


def test_ones_own_arrays_train(call, tmp_path):
    generator = np.random.default_rng(0)
    group = np.repeat(["ann", "bob", "eve"], 40)
    np.savez(tmp_path / "mine.npz", x=generator.random((120, 1, 6, 7)), group=group)
    arguments = ["dataset=arrays", "dataset.root=mine.npz", *FAST, "run=run"]
    code, _, err = call("train", *arguments)
    assert code == 0, err
    assert mlvae.load(tmp_path / "run").shape == (1, 6, 7)
    # The run remembers where the data was, wherever it is resumed from.
    longer = [f"resume={tmp_path / 'run'}", "trainer.epochs=3"]
    code, _, err = call("train", *longer, cwd=tmp_path.parent)
    assert code == 0, err


@pytest.fixture
def people(tmp_path):
    """A folder of ten people with six grey images each, and one file that is no image."""
    generator = np.random.default_rng(0)
    for person in range(10):
        folder = tmp_path / "people" / f"person{person}"
        folder.mkdir(parents=True)
        for i in range(6):
            pixels = generator.integers(0, 256, (12, 10), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    (tmp_path / "people" / "person0" / "notes.txt").write_text("hello")


def test_a_folder_of_people_trains_with_two_overrides_and_goes_on_from_anywhere(
    call, people, tmp_path
):
    arguments = ["dataset=faces", "dataset.root=people", "dataset.size=8", *FAST, "run=run"]
    code, out, err = call("train", *arguments)
    assert code == 0, err
    assert "60 images, skipped 1: see " in out
    assert mlvae.load(tmp_path / "run").shape == (3, 8, 8)
    longer = [f"resume={tmp_path / 'run'}", "trainer.epochs=3"]
    code, out, err = call("train", *longer, cwd=tmp_path.parent)
    assert code == 0, err
    assert "prepared" not in out  # the cache is where it was


def test_a_collection_may_be_prepared_beforehand(call, people, tmp_path):
    arguments = ["dataset=faces", "dataset.root=[people]", "dataset.size=8"]
    for _ in range(2):
        code, out, err = call("prepare", *arguments, MLVAE_CACHE="elsewhere")
        assert code == 0, err
        assert "train: GroupedData(48 observations of shape (3, 8, 8) in 8 groups)" in out
        assert out.rstrip().endswith("skipped.txt: 60 used, 1 skipped, 0 left out")
    assert {path.name for path in tmp_path.iterdir()} == {"people", "elsewhere"}
    code, _, err = call("prepare", *arguments, "dataset.strict=true")
    assert code == 1 and err.count("\n") == 1
    assert "person0/notes.txt is not an image; remove it, or set dataset.strict=false" in err
    code, _, err = call("prepare")
    assert code == 1 and err.startswith("error: You must specify 'dataset'")


def test_a_sweep_trains_once_for_each_value(call, tmp_path):
    code, _, err = call("train", "-m", "seed=0,1", *FAST)
    assert code == 0, err
    runs = sorted((tmp_path / "runs" / "digits").iterdir())
    assert [path.name[-5:] for path in runs] == ["seed0", "seed1"]
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_mnist_trains_from_the_environments_folder(call, data_root):
    arguments = ["dataset=mnist", "trainer.epochs=1", "batching.batch_size=5000", "run=run"]
    code, out, err = call("train", *arguments, MLVAE_DATA=str(data_root))
    assert code == 0, err
    assert "step 10/10, validation" in out


BAD = [
    (["trainer.epoch=3"], "there is no option trainer.epoch; did you mean trainer.epochs?"),
    (["datset=mnist"], "there is no option datset; did you mean dataset?"),
    (["network.hiden=3"], "there is no option network.hiden"),
    (
        ["dataset=mnits"],
        "dataset must be one of arrays, celeba, digits, faces, fashion",
    ),
    (["trainer.epochs=["], "the override 'trainer.epochs=[' cannot be read"),
    (["dataset=arrays"], "dataset.root has no default: give it on the command line"),
    (["dataset=faces"], "dataset.root has no default: give it on the command line"),
    (["dataset=faces", "dataset.root=nowhere"], "nowhere must be a folder, an archive or a table"),
    (["trainer.epochs=0"], "trainer.epochs must be an integer of at least 1, not 0"),
    (["+model.foo=3"], "an option of model MLVAE must be one of content_dim"),
    (["+trainer.foo=1"], "an option of trainer must be one of epochs, kl_warmup_steps"),
    (["+dataset.foo=1"], "an option of dataset digits must be one of validation, test, unseen"),
    (["dataset=lfw", "+dataset.sise=1"], "did you mean 'size'"),
    (["+foo=1"], "an option must be one of dataset, model, batching, optimizer, trainer"),
    (["~trainer"], "trainer must be options by name, as a file of configs/trainer has them"),
    (["~seed"], "the option seed must not be taken away"),
    (["model=null"], "name a file of the group, as model=mlvae"),
    (["model.network=null"], "network must be options by name, its name among them, not None"),
    (["trainer.cuda_graphs=maybe"], "trainer.cuda_graphs must be true or false, not 'maybe'"),
    (
        ["dataset=faces", "dataset.root=.", "dataset.strict=maybe"],
        "dataset.strict must be true or",
    ),
    (["run="], "run must name a folder, or be None for a new one, not be empty"),
    (["model=ada", "run=run"], "AdaVAE is trained on groups of two"),
    (["resume=nowhere"], "nowhere must be a run folder with a checkpoint.pt"),
    (
        ["dataset=mnist", "dataset.root=nowhere"],
        "nowhere/MNIST/raw must hold the four files of MNIST",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_line_and_leaves_nothing(call, tmp_path, arguments, message):
    # A proxy that is not there: no download, whatever the machine could reach.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    code, _, err = call("train", *arguments, **nowhere)
    assert code == 1
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_only_what_a_resumed_run_allows_may_change(call, run):
    code, _, err = call("train", f"resume={run[0]}", "model.content_dim=3")
    assert code == 1 and "so model.content_dim cannot change; only trainer.*" in err


def test_a_loss_that_is_not_finite_is_one_line_with_the_step_and_the_term(call, tmp_path):
    arguments = [*FAST, "optimizer.learning_rate=1e18", "run=run"]
    code, _, err = call("train", *arguments)
    assert code == 1 and err.count("\n") == 1
    assert re.match(r"error: at step \d+ \(epoch \d\.\d\d\) \w+ is (nan|inf|-inf)", err)
    model = mlvae.load(tmp_path / "run")
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_the_benchmark_prints_a_table_and_writes_json(call, tmp_path):
    arguments = ["--rounds", 1, "--seconds", 0.2, "--json", "result.json"]
    code, out, err = call("benchmark", *arguments)
    assert code == 0, err
    assert "mlvae float32" in out and "times the common way" in out
    assert (tmp_path / "result.json").exists()
    code, _, err = call("benchmark", "--root", tmp_path / "none", https_proxy="http://127.0.0.1:9")
    assert code == 1 and err.startswith("error: ")


EVALUATE = [
    "evaluation.separation.probes=[logistic]",
    "evaluation.separation.seeds=1",
    "evaluation.fidelity.seeds=1",
    "evaluation.embedding.method=pca",
    "evaluation.likelihood.sizes=[1]",
    "evaluation.likelihood.groups=5",
    "workers=1",
    "device=cpu",
]


def test_a_run_is_evaluated_beside_a_vae_that_is_trained_once(call, tmp_path):
    call("train", *FAST, "run=run", "dataset.unseen_groups=[8,9]")
    code, out, err = call("evaluate", "run=run", *EVALUATE)
    assert code == 0, err
    assert "training the plain VAE" in out and "the report is run/evaluation/report.html" in out
    metrics = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    assert set(metrics) == {
        "facts",
        "separation",
        "unseen",
        "factors",
        "disentanglement",
        "fidelity",
        "manipulation",
        "embedding",
        "likelihood",
    }
    assert {"content", "style", "vae", "untrained", "raw"} == {
        record["code"] for record in metrics["separation"]["records"]
    }
    control = read_checkpoint(tmp_path / "run" / "controls" / "vae" / "checkpoint.pt")
    trained = read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert control["model_config"]["latent_dim"] == 20 and control["step"] == trained["step"]
    code, out, err = call("evaluate", "run=run", "evaluation=[likelihood]", *EVALUATE[4:])
    assert code == 0 and "training the plain VAE" not in out, err
    # A run made longer has its control made longer too.
    call("train", "resume=run", "trainer.epochs=3")
    code, out, err = call("evaluate", "run=run", "evaluation=[likelihood]", *EVALUATE[4:])
    assert code == 0, err
    control = read_checkpoint(tmp_path / "run" / "controls" / "vae" / "checkpoint.pt")
    assert control["step"] == read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"]


def test_an_evaluation_that_is_terminated_leaves_nothing(call, run, tmp_path, monkeypatch):
    def killed(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(mlvae.evaluation.Separation, "ask", killed)
    shutil.copytree(run[0], tmp_path / "run")
    before = signal.getsignal(signal.SIGTERM)
    code, _, err = call("evaluate", "run=run", "vae=null", "evaluation=[separation]")
    signal.signal(signal.SIGTERM, before)
    assert code == 1 and err == "error: interrupted\n"
    assert not (tmp_path / "run" / "evaluation").exists()


def test_a_vae_is_evaluated_as_well(call):
    call("train", *FAST, "model=vae", "run=run")
    code, out, err = call("evaluate", "run=run", "best=true", *EVALUATE)
    assert code == 0 and "training" not in out, err
    metrics = json.loads(Path("run/evaluation/metrics.json").read_text())
    codes = {record["code"] for record in metrics["separation"]["records"]}
    assert codes == {"latent", "untrained", "raw"}


def test_bad_input_to_the_evaluation_is_one_line_and_leaves_nothing(call, run, tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copytree(run[0], tmp_path / "old")
    state = torch.load(tmp_path / "old" / "checkpoint.pt", weights_only=True)
    torch.save({**state, "format": 0, "version": "0.0.1"}, tmp_path / "old" / "checkpoint.pt")
    gone = {**state["config"], "dataset": {"name": "arrays", "root": str(tmp_path / "gone.npz")}}
    (tmp_path / "gone").mkdir()
    torch.save({**state, "config": gone}, tmp_path / "gone" / "checkpoint.pt")
    mlvae.train(
        mlvae.models.MLVAE((1, 8, 8)),
        mlvae.data.digits().test,
        run=tmp_path / "python",
        epochs=1,
        progress=False,
    )
    good = f"run={run[0]}"
    before = {path: sorted(path.rglob("*")) for path in (run[0], *tmp_path.iterdir())}
    for arguments, message in (
        ([], "run has no default: give it on the command line"),
        (["run=nowhere"], "nowhere must be a run folder with a checkpoint.pt"),
        (["run=empty"], "empty must be a run folder with a checkpoint.pt"),
        (["run=old"], "has checkpoint format 0, this version reads 1; open it with mlvae 0.0.1"),
        (["run=gone"], "gone.npz"),
        ([good, "root=elsewhere"], "digits lies in no folder that could have moved"),
        (["run=python"], "was trained from Python; evaluate it with mlvae.evaluation.evaluate"),
        ([good, "evaluation.separation.k=[1,99]", "vae=null"], "k=99 must not exceed"),
        (
            [good, "evaluation=[nothing]"],
            "evaluation must be one of disentanglement, embedding, factors, fidelity",
        ),
        ([good, "evaluation=[]"], "must name at least one question"),
        ([good, "vae=nowhere"], "nowhere must be a run folder"),
        ([good, f"vae={run[0]}"], "must be the run of a plain VAE, not of MLVAE"),
        ([good, "best=maybe"], "best must be true or false, not 'maybe'"),
        ([good, "evaluation.separation.k=1"], "evaluation.separation.k must be a list, not 1"),
        ([good, "+foo=1"], "an option must be one of evaluation, run, best, vae"),
    ):
        code, _, err = call("evaluate", *arguments)
        assert code == 1 and err.count("\n") == 1, err
        assert err.startswith("error: ") and message in err
    assert before == {path: sorted(path.rglob("*")) for path in before}


TABLE = """
title: A small table
seeds: [0, 1]
variants:
  plain: [trainer.epochs=2, "model.network.hidden=[16]"]
  narrow: [trainer.epochs=2, "model.network.hidden=[4]"]
evaluation: ["evaluation=[likelihood]", vae=null, evaluation.likelihood.groups=5]
fast: {note: one epoch, seeds: [0], train: [trainer.epochs=1]}
panels:
  - title: The bound
    cells: {from: likelihood.bound.test, take: elbo_per_observation, digits: 2}
    rows: {plain: {variant: plain}, narrow: {variant: narrow}}
    columns: {all: {}}
    reported: [{row: plain, column: all, value: -1, source: Nobody}]
"""


@pytest.fixture
def small_table(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "small.yaml"
    path.write_text(TABLE)
    return f"table={path}"


def test_a_table_is_reproduced_and_what_is_done_is_not_done_again(call, tmp_path, small_table):
    code, out, err = call("reproduce", small_table, "fast=true", "device=cpu")
    assert code == 0, err
    assert "**A small version, not the experiment itself: one epoch.**" in out
    assert "(reported: -1 [1]) |" in out and "[1] Nobody." in out
    folder = tmp_path / "runs" / "reproduce" / "small-fast"
    assert (folder / "table.md").read_text().strip() in out
    code, out, err = call("reproduce", small_table, "fast=true", "device=cpu")
    assert code == 0 and "2 runs are done, 0 to do" in out, err
    table = Path(small_table.removeprefix("table="))
    table.write_text(TABLE.replace("vae=null,", "vae=null, best=true,"))  # to be asked otherwise
    code, out, err = call("reproduce", small_table, "fast=true", "device=cpu")
    assert code == 0 and "0 runs are done, 2 to do" in out, err
    (folder / "plain-seed0" / "reproduced.json").unlink()  # as if it had been killed before
    code, out, err = call("reproduce", small_table, "fast=true", "device=cpu")
    assert code == 0 and "1 runs are done, 1 to do" in out, err


def test_of_all_tables_one_without_its_data_keeps_no_other_from_being_done(
    call, tmp_path, small_table, monkeypatch
):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import tables

    monkeypatch.setattr(tables, "names", lambda: ["recipes", small_table.removeprefix("table=")])
    monkeypatch.setenv("MLVAE_DATA", "nowhere")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    code, out, err = call("reproduce", "table=all", "fast=true", "device=cpu", **nowhere)
    assert code == 1 and err == "error: not reproduced: recipes; the reasons stand above\n"
    assert "recipes: " in out and "nowhere/MNIST/raw must hold the four files" in out
    assert (tmp_path / "runs/reproduce/small-fast/table.md").exists()


def test_runs_of_a_table_go_side_by_side_to_the_same_numbers(call, tmp_path, small_table):
    options, tables = ["seeds=[0,1]", "device=cpu", "fast=true"], []
    code, _, err = call("reproduce", small_table, *options, "folder=by1")
    assert code == 0, err
    finish(start("reproduce", small_table, *options, "jobs=2", "folder=by2", cwd=tmp_path))
    for jobs in (1, 2):
        text = (tmp_path / f"by{jobs}" / "small-fast" / "table.md").read_text()
        tables.append(re.findall(r"^\| .*", text, flags=re.MULTILINE))
    assert tables[0] == tables[1] and "±" in tables[0][1]


def test_whose_data_lie_in_a_file_is_trained_anew_on_another_file(call, tmp_path, small_table):
    table = Path(small_table.removeprefix("table="))
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", x=rng.random((60, 5)), group=np.arange(60) % 3)
    text = TABLE.replace("[trainer.epochs=2,", "[dataset=arrays, dataset.root=one.npz,")
    options = [small_table, "fast=true", "device=cpu"]
    table.write_text(text)
    assert call("reproduce", *options)[0] == 0
    table.write_text(text.replace("one.npz", "two.npz"))
    code, _, err = call("reproduce", *options)
    assert code == 1 and "holds a run with other options than this table's" in err


def test_bad_input_to_a_reproduction_is_one_line(call, tmp_path, small_table):
    for arguments, message in (
        ([], "table has no default"),
        (["table=mnist_quantitive"], "did you mean 'mnist_quantitative'?"),
        (["table=none.yaml"], "table=none.yaml must be a file: No such file"),
        ([small_table, "jobs=0"], "jobs must be an integer of at least 1"),
        ([small_table, "seeds=3"], "seeds must be a list, as seeds=[0,1,2], not 3"),
        ([small_table, "seeds=[0,0]"], "seeds must be different, not [0, 0]"),
        ([small_table, "seeds=[a]"], "seeds must be an integer of at least 0, not 'a'"),
        ([small_table, "fast=maybe"], "fast must be true or false, not 'maybe'"),
        ([small_table, "seed=1"], "there is no option seed; did you mean seeds?"),
    ):
        code, _, err = call("reproduce", *arguments)
        assert code == 1 and err.count("\n") == 1 and message in err, err
    table = Path(small_table.removeprefix("table="))
    table.write_text("title: [")
    code, _, err = call("reproduce", small_table)
    assert code == 1 and err.count("\n") == 1 and "must be a YAML file, but line 1" in err
    table.write_text(TABLE.replace("fast: ", "slow: "))
    code, _, err = call("reproduce", small_table, "fast=true")
    assert code == 1 and err.count("\n") == 1 and "has no small version: leave out fast" in err
    for wrong, message in (
        (
            "digits: x",
            "digits of cell 'plain', 'all' of panel 1 of .* must be an integer of .*, not 'x'",
        ),
        ("times: x", "times of cell .* must be a number that is finite, not 'x'"),
    ):
        table.write_text(TABLE.replace("digits: 2", wrong))
        code, _, err = call("reproduce", small_table)
        assert code == 1 and err.count("\n") == 1 and re.search(message, err), err
    table.write_text(TABLE.replace("from: likelihood", "from: fidelity"))
    code, _, err = call("reproduce", small_table)
    assert code == 1 and "from fidelity.bound.test, but the table's evaluation asks only" in err
    table.write_text(TABLE)
    assert list(tmp_path.iterdir()) == []
    call("train", *FAST, "run=runs/reproduce/small-fast/plain-seed0")
    code, _, err = call("reproduce", small_table, "fast=true", "device=cpu")
    assert code == 1 and "holds a run with other options" in err


def test_the_library_and_the_benchmark_need_no_hydra():
    # A machine that lacks it can still import, train and benchmark.
    block = "import sys; sys.modules.update(hydra=None, omegaconf=None); "
    code = "import mlvae, mlvae.training; import benchmark"
    subprocess.run([sys.executable, "-c", block + code], cwd=SCRIPTS, check=True)
