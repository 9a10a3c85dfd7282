"""Command lines of the scripts: quotes, values of every kind, runs moved to another machine."""

import contextlib
import shlex
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

SCRIPTS = Path(__file__).parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

import cli  # noqa: E402

PATHS = [
    "/data/müller",
    "date=2024-05-01.npz",
    "mine (1).npz",
    "o'hara.npz",
    'say "x".npz',
    "a,b.npz",
    "{a}",
    "顔/写真",
    "back\\slash\\",
    "5",
    "007",
    "null",
    "a b",
    "~x",
    "#1!&",
]


def pasted(argument):
    """Name and value of an argument, read by a shell and by Hydra."""
    (word,) = shlex.split(argument)
    override = OverridesParser.create().parse_override(word)
    return override.key_or_group, override.value()


@pytest.mark.parametrize("path", PATHS)
def test_a_printed_option_can_be_pasted(path):
    assert pasted(cli.argument("run", path)) == ("run", path)


@pytest.mark.parametrize("path", PATHS)
def test_the_error_of_an_unreadable_override_shows_it_in_quotes(path, capsys):
    parser = OverridesParser.create()
    with contextlib.suppress(HydraException):
        parser.parse_overrides([f"dataset.root={path}"])
        return
    with pytest.raises(SystemExit) as end, cli.one_line_errors():
        parser.parse_overrides([f"dataset.root={path}"])
    line = str(end.value)
    assert line.startswith("error: ") and "\n" not in line
    assert pasted(line.split("it is ")[1]) == ("dataset.root", path)


def test_the_items_of_an_unreadable_list_are_quoted():
    with pytest.raises(SystemExit) as end, cli.one_line_errors():
        OverridesParser.create().parse_overrides(["dataset.root=[/a/müller,/b]"])
    assert pasted(str(end.value).split("it is ")[1]) == ("dataset.root", ["/a/müller", "/b"])
