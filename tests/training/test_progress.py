"""What a terminal, a notebook and any other output show of a training."""

import fcntl
import logging
import os
import pty
import select
import struct
import sys
import termios

import pytest
import tqdm as tqdm_module
import tqdm.auto

from mlvae.training.progress import Progress

VALUES = {
    "loss": 999.0,
    "elbo_per_observation": -742171.25,
    "log_likelihood_per_observation": -22.75,
    "style_kl_per_observation": 0.41,
    "content_kl_per_group": 13.8,
}


class Terminal:
    """A terminal behind standard error, with a number of columns."""

    def __init__(self, monkeypatch, columns=80):
        self.reader, writer = pty.openpty()
        size = struct.pack("HHHH", 24, columns + 1, 0, 0)  # tqdm leaves the last column empty
        fcntl.ioctl(writer, termios.TIOCSWINSZ, size)
        self.stream = os.fdopen(writer, "w", encoding="utf-8", buffering=1)
        monkeypatch.setattr(sys, "stderr", self.stream)

    def read(self):
        """The text that was written since the last call."""
        self.stream.flush()
        found = b""
        while select.select([self.reader], [], [], 0.2)[0]:
            found += os.read(self.reader, 2**16)
        return found.decode()

    def line(self):
        """What the terminal shows in the line of the bar."""
        return self.read().replace("\x1b[A", "").rstrip("\r\n ").rsplit("\r", 1)[-1]

    def close(self):
        self.stream.close()
        os.close(self.reader)


@pytest.fixture
def terminal(monkeypatch):
    """Makes a terminal; in the test, since pytest replaces standard error before it."""
    made = []

    def make(columns=80):
        made.append(Terminal(monkeypatch, columns))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("columns", [80, 120])
def test_the_bar_has_epoch_bound_and_time_within_the_columns(terminal, columns):
    screen = terminal(columns)
    progress = Progress(2400, done=0, steps_per_epoch=24, shown=True)
    progress.advance(24)
    progress.report("validation", VALUES, 24)
    progress.advance(1176)
    progress.bar.refresh()
    line = screen.line()
    assert len(line) <= columns
    assert line.startswith("epoch 51/100  50% |")
    assert line.endswith(" left, bound -742171.25 (validation)")
    bar = line.split("|")[1]
    assert len(bar) >= columns - 65 and bar.count("█") == pytest.approx(len(bar) / 2, abs=1)
    progress.close()


def test_the_bar_shows_the_loss_of_a_model_without_a_bound(terminal):
    screen = terminal()
    progress = Progress(10, done=0, steps_per_epoch=5, shown=True)
    progress.report("train", {"loss": 1.5}, 5)
    progress.bar.refresh()
    assert screen.line().endswith("left, loss 1.50 (train)")
    progress.close()


def test_the_bar_of_a_resumed_run_begins_where_the_run_stopped(terminal):
    screen = terminal()
    progress = Progress(100, done=50, steps_per_epoch=10, shown=True)
    progress.bar.refresh()
    assert screen.line().startswith("epoch 6/10  50% |")
    progress.close()


def test_the_last_step_is_of_the_last_epoch(terminal):
    screen = terminal()
    progress = Progress(100, done=0, steps_per_epoch=10, shown=True)
    progress.advance(100)
    progress.close()
    assert screen.line().startswith("epoch 10/10 100% |")


def test_a_warning_stands_on_a_line_of_its_own(terminal, caplog):
    screen = terminal()
    progress = Progress(100, done=0, steps_per_epoch=10, shown=True)
    screen.read()
    progress.warn("take care")
    assert screen.read().startswith("\r" + 40 * " ")  # the bar is cleared, then drawn again
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.WARNING, "take care")
    progress.close()


class Widget(tqdm_module.tqdm):
    """As the bar of tqdm in a notebook."""

    status_printer = staticmethod(lambda *_: lambda text: None)


def test_a_notebook_has_the_widget_of_tqdm(monkeypatch):
    assert type(Progress(10, done=0, steps_per_epoch=5, shown=True).bar) is tqdm_module.tqdm
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.setattr(tqdm.auto, "tqdm", Widget)
    progress = Progress(10, done=0, steps_per_epoch=5, shown=True)
    assert type(progress.bar) is Widget and not progress.lines
    silent = Progress(10, done=0, steps_per_epoch=5, shown=False)
    assert silent.bar.disable and not silent.lines
    for each in (progress, silent):
        each.close()


def test_a_notebook_without_widgets_has_lines(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    progress = Progress(10, done=0, steps_per_epoch=5, shown=True)
    progress.report("train", VALUES, 5)
    line = capsys.readouterr().out
    assert line.startswith("epoch 1, step 5/10, train: elbo -742171.25, log_likelihood -22.75")
    progress.close()
