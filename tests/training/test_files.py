"""Files of a run: whole at any moment, and written through no link."""

import errno
import os
import socket
import stat
from pathlib import Path

import pytest
import torch

import mlvae
from mlvae import Diverged, GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Likelihood, evaluate
from mlvae.likelihoods import Gaussian
from mlvae.networks import MLP
from mlvae.training.checkpoint import read_checkpoint, write_checkpoint
from mlvae.training.files import OWN_NAMES, append, check_no_links, replace_file
from mlvae.training.run import load


def small_data():
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return GroupedData(x, [0, 0, 0, 0, 1, 1, 1, 1])


def build(**options):
    torch.manual_seed(0)
    options = {"content_dim": 2, "style_dim": 2, "network": MLP((4,))} | options
    return mlvae.models.MLVAE((1, 8, 8), **options)


def fit(run, model=None, **options):
    options = {
        "batching": mlvae.data.Shuffled(4),
        "epochs": 1,
        "reports": mlvae.Reports(progress=False),
        "device": "cpu",
    } | options
    return mlvae.train(model or build(), small_data(), run=run, **options)


@pytest.fixture
def outside(tmp_path):
    """A folder that belongs to nobody's run; its content must not change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("file", "metrics.json", "report.html"):
        (folder / name).write_text("mine")
    yield folder
    assert {path.name for path in folder.iterdir()} == {"file", "metrics.json", "report.html"}
    assert all(path.read_text() == "mine" for path in folder.iterdir())


def linked(path, outside):
    """A link at ``path`` to a file outside, or to the folder for names of folders."""
    folder = path.name in ("figures", "evaluation", "controls")
    path.symlink_to(outside if folder else outside / "file")


# Links


@pytest.mark.parametrize("name", OWN_NAMES)
def test_a_new_run_with_a_link_is_refused_in_one_line(name, tmp_path, outside):
    (tmp_path / "run").mkdir()
    linked(tmp_path / "run" / name, outside)
    with pytest.raises(InputError) as raised:
        fit(tmp_path / "run")
    assert "\n" not in str(raised.value)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [name]


@pytest.mark.parametrize("name", OWN_NAMES)
def test_a_resumed_run_with_a_link_is_refused_by_its_name(name, tmp_path, outside):
    run = tmp_path / "run"
    fit(run)
    path = run / name
    if path.is_file():
        path.rename(run / "moved")
    elif path.is_dir():
        path.rename(run / "moved folder")
    if name == "checkpoint.pt":  # a link to a good checkpoint
        path.symlink_to(run / "moved")
    else:
        linked(path, outside)
    with pytest.raises(InputError, match=name.replace(".", r"\.")) as raised:
        fit(run, resume=True, epochs=2)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["checkpoint.tmp", "best.tmp", "metrics.tmp", "config.tmp"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_link_at_a_temporary_name_is_replaced(name, resume, tmp_path, outside):
    run = tmp_path / "run"
    run.mkdir()
    if resume:
        fit(run)
    linked(run / name, outside)
    fit(run, validation=small_data(), resume=resume, epochs=2)
    assert read_checkpoint(run / "checkpoint.pt")["step"] == 4
    assert not (run / name).is_symlink() or name == "metrics.tmp"


def test_links_among_the_figures_are_replaced(tmp_path, outside):
    run = tmp_path / "run"
    fit(run)
    names = sorted(path.name for path in (run / "figures").iterdir())
    assert names == ["reconstructions.png", "swaps.png"]
    for name in names:
        (run / "figures" / name).unlink()
        linked(run / "figures" / name, outside)
        linked(run / "figures" / name.replace("png", "tmp"), outside)
    fit(run, resume=True, epochs=2)
    for name in names:
        path = run / "figures" / name
        assert not path.is_symlink() and path.read_bytes().startswith(b"\x89PNG")


def test_an_evaluation_replaces_a_link_to_an_earlier_one(tmp_path, outside):
    linked(tmp_path / "evaluation", outside)
    questions = [Likelihood(sizes=(1,), groups=2, num_content=(1,), num_style=1)]
    data = small_data()
    evaluate(
        build(),
        Splits(data, test=data),
        tmp_path / "evaluation",
        questions=questions,
        workers=1,
        progress=False,
    )
    assert not (tmp_path / "evaluation").is_symlink()
    assert (tmp_path / "evaluation" / "report.html").is_file()


def special(path, kind):
    """A pipe, or a socket, at ``path``."""
    if kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("name", OWN_NAMES)
@pytest.mark.parametrize("resume", [False, True])
def test_a_run_with_a_special_file_is_refused_and_not_opened(
    name, resume, kind, tmp_path, monkeypatch, time_limit
):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    run = Path("run")
    run.mkdir()
    if resume:
        fit(run)
        if (run / name).exists():
            (run / name).rename(run / "moved")
    special(run / name, kind)
    with time_limit(20), pytest.raises(InputError, match=name.replace(".", r"\.")) as raised:
        fit(run, resume=resume, epochs=2)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["checkpoint.pt", "best.pt"])
def test_a_pipe_is_not_loaded_as_a_checkpoint(name, tmp_path, time_limit):
    os.mkfifo(tmp_path / name)
    with time_limit(20), pytest.raises(InputError, match=name.replace(".", r"\.")):
        load(tmp_path, best=name == "best.pt")


def test_nothing_is_appended_to_a_pipe(tmp_path, time_limit):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with time_limit(5), pytest.raises(OSError, match=r"metrics\.jsonl"):
        append(tmp_path / "metrics.jsonl", "{}\n")


def test_a_folder_without_links_is_accepted(tmp_path):
    (tmp_path / "config.yaml").touch()
    (tmp_path / "other").symlink_to(tmp_path / "config.yaml")
    assert check_no_links(tmp_path) is None
    with pytest.raises(InputError, match="other"):
        check_no_links(tmp_path, ["other"])


def test_nothing_is_appended_through_a_link(tmp_path, outside):
    linked(tmp_path / "metrics.jsonl", outside)
    with pytest.raises(OSError, match=r"metrics\.jsonl"):
        append(tmp_path / "metrics.jsonl", "line\n")
    append(tmp_path / "own.jsonl", "a\n")
    append(tmp_path / "own.jsonl", "ä\n")
    assert (tmp_path / "own.jsonl").read_text(encoding="utf-8") == "a\nä\n"


# Whole files


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "checkpoint.pt"
    replace_file(path, b"old")

    def half(file):
        file.write(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, half)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    replace_file(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_a_file_and_then_its_name_are_written_to_the_disk(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, Path.replace

    def synced(descriptor):
        status = os.fstat(descriptor)
        calls.append("folder" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes")
        fsync(descriptor)

    def replaced(self, target):
        calls.append(f"replace {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    replace_file(tmp_path / "file", b"content")
    assert calls == ["7 bytes", "replace file", "folder"]
    calls.clear()
    write_checkpoint(tmp_path / "checkpoint.pt", {"step": 1})
    size = (tmp_path / "checkpoint.pt").stat().st_size
    assert calls == [f"{size} bytes", "replace checkpoint.pt", "folder"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EIO])
def test_a_file_system_without_fsync_of_folders_is_enough(number, tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if number == errno.EIO:  # the disk is damaged
        with pytest.raises(OSError, match=os.strerror(number)):
            replace_file(tmp_path / "file", b"new")
    else:
        replace_file(tmp_path / "file", b"new")
        assert fit(tmp_path / "run").finished
    assert (tmp_path / "file").read_bytes() == b"new"


# Diverged runs


class Diverging(mlvae.models.MLVAE):
    """A model whose loss is not a number from some step on."""

    fails_at = 0
    calls = 0

    def forward(self, batch, *, generator=None):
        objective = super().forward(batch, generator=generator)
        if self.training:
            self.calls += 1
            if self.calls > self.fails_at:
                objective = objective.plus(objective.loss * torch.nan, {}, {})
        return objective


def diverging(fails_at):
    torch.manual_seed(0)
    options = {"content_dim": 2, "style_dim": 2, "network": MLP((4,))}
    model = Diverging((1, 8, 8), **options)
    model.fails_at, model.calls = fails_at, 0
    return model


SAVES = mlvae.Reports(progress=False, checkpoint_seconds=0, log_every=1)


def test_a_diverged_run_keeps_the_checkpoint_of_before(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(Diverged, match=r"step 3 .*step 3.*checkpoint\.before\.pt"):
        fit(run, diverging(3), epochs=9, reports=SAVES)
    last, before = (read_checkpoint(run / f"checkpoint{name}.pt") for name in ("", ".before"))
    assert last["diverged"] and not before["diverged"]
    assert last["step"] == before["step"] == 3
    kept = (run / "checkpoint.before.pt").read_bytes()
    # The second divergence, at once, does not replace the kept one by a diverged state.
    with pytest.raises(Diverged, match=r"checkpoint\.before\.pt"):
        fit(run, diverging(0), epochs=9, resume=True, reports=SAVES)
    assert (run / "checkpoint.before.pt").read_bytes() == kept
    assert read_checkpoint(run / "checkpoint.pt")["diverged"]
    # A run that goes on well and diverges later keeps the later checkpoint.
    with pytest.raises(Diverged, match="step 7"):
        fit(run, diverging(4), epochs=9, resume=True, reports=SAVES)
    assert read_checkpoint(run / "checkpoint.before.pt")["step"] == 7


def test_the_kept_checkpoint_is_a_run_again_under_its_old_name(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(Diverged):
        fit(run, diverging(3), epochs=4, reports=SAVES)
    (run / "checkpoint.before.pt").replace(run / "checkpoint.pt")
    result = fit(run, diverging(10**6), epochs=4, resume=True)
    assert result.finished and read_checkpoint(run / "checkpoint.pt")["step"] == 8


def test_a_damaged_checkpoint_does_not_stop_the_save_of_a_diverged_run(tmp_path):
    run = tmp_path / "run"
    model = diverging(3)
    real = model.forward

    def forward(batch, *, generator=None):
        if model.training and model.calls == 3:
            (run / "checkpoint.pt").write_bytes(b"damaged")
        return real(batch, generator=generator)

    model.forward = forward
    with pytest.raises(Diverged, match="step 3"):
        fit(run, model, epochs=9, reports=SAVES)
    assert read_checkpoint(run / "checkpoint.pt")["step"] == 3


INFINITE = mlvae.Torch("SGD", learning_rate=1e38)


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("validated", [False, True])
def test_infinite_weights_are_never_saved(epochs, validated, tmp_path):
    run = tmp_path / "run"
    model = build(likelihood=Gaussian(std=1e-3))
    validation = small_data() if validated else None
    with pytest.raises(Diverged, match=r"parameter .*nothing"):
        fit(
            run,
            model,
            epochs=epochs,
            optimizer=INFINITE,
            validation=validation,
            batching=mlvae.data.Shuffled(8),  # one step an epoch: the last step is not checked
        )
    assert not list(tmp_path.glob("**/*.pt"))


def test_the_last_finite_checkpoint_stays_where_weights_become_infinite(tmp_path):
    run = tmp_path / "run"
    model = build(likelihood=Gaussian(std=1e-3))
    fit(run, model, optimizer=mlvae.Torch("SGD", learning_rate=1e-12))
    content = (run / "checkpoint.pt").read_bytes()
    with pytest.raises(Diverged, match=r"parameter .*last checkpoint"):
        fit(run, model, optimizer=INFINITE, epochs=3, resume=True)
    assert (run / "checkpoint.pt").read_bytes() == content
    assert all(weight.isfinite().all() for weight in mlvae.load(run).parameters())
