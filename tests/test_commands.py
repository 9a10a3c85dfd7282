"""The command mlvae: its dispatch, help and completion, and the commands that messages print."""

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import mlvae
from mlvae.commands import help as texts
from mlvae.commands.configs import CONFIGS, choices
from mlvae.commands.help import DETAILS, GROUPS, SUMMARIES
from mlvae.commands.main import main
from mlvae.invocation import command_line, command_name

#: The commands are not counted by coverage, and other tests reach the lines of the library.
pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parent.parent


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """A function that runs ``mlvae`` in ``tmp_path``; returns its error and its output."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/mlvae", *map(str, arguments)])
        capsys.readouterr()
        error = None
        try:
            main()
        except SystemExit as end:
            error = end.code
        return error, capsys.readouterr().out

    return run


@pytest.fixture
def started(monkeypatch):
    """Replaces every command by one that records the arguments of the process."""
    calls = []
    for name in SUMMARIES:
        module = import_module(f"mlvae.commands.{name}")
        monkeypatch.setattr(module, "command", lambda name=name: calls.append((name, sys.argv)))
    return calls


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_command_gets_its_arguments_unchanged(name, call, started):
    arguments = ["a=b c", "+x='[1, 2]'", "-m", "--cfg", "job"]
    assert call(name, *arguments) == (None, "")
    assert started == [(name, [f"mlvae {name}", *arguments])]


def test_every_command_has_a_module_and_a_script():
    for name in SUMMARIES:
        assert callable(import_module(f"mlvae.commands.{name}").command)
        text = (ROOT / "scripts" / f"{name}.py").read_text()
        assert f'run("{name}")' in text
        assert ("@hydra.main" in text) == (name != "benchmark")  # Hydra's completion needs it


@pytest.mark.parametrize(
    ("argument", "hint"),
    [("trian", "train"), ("eval", "evaluate"), ("bench", "benchmark"), ("reprodce", "reproduce")],
)
def test_a_misspelled_command_gets_one_line_with_the_closest_name(argument, hint, call, started):
    error, out = call(argument)
    assert re.fullmatch(rf"error: .*'{argument}'.* mean {hint}\?", error)
    assert out == "" and not started


def test_a_word_unlike_any_command_gets_the_list(call, started):
    error, _ = call("xyz")
    assert all(name in error for name in SUMMARIES) and "\n" not in error


def test_options_without_a_command_get_the_line_to_paste(call, started):
    error, _ = call("dataset=mnist")
    assert error.endswith("mlvae train dataset=mnist")


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_the_overview_has_every_command(arguments, call):
    error, out = call(*arguments)
    assert error is None and [name for name in SUMMARIES if f"  {name} " not in out] == []


def test_the_version_is_that_of_the_package(call):
    assert call("--version") == (None, f"mlvae {mlvae.__version__}\n")


@pytest.mark.parametrize("name", DETAILS)
def test_the_help_of_a_command_has_its_examples_and_every_choice_at_90_columns(name, call):
    error, out = call(name, "--help")
    _, _, examples = DETAILS[name]
    assert error is None and max(map(len, out.splitlines())) <= 90
    assert len(examples) == 3 and all(f"  {example}\n" in out for example in examples)
    listed = re.findall(r"[\w.]+", out)
    for group in GROUPS[name].values():
        assert choices(group) and set(choices(group)) <= set(listed)
    assert f"mlvae {name}" in out.split("All options")[1] and "--cfg job" in out


def test_the_benchmark_prints_its_own_help(call):
    error, out = call("benchmark", "--help")
    assert error == 0 and out.startswith("usage: mlvae benchmark ") and "--gigabytes" in out


@pytest.mark.parametrize("name", DETAILS)
def test_every_option_and_example_of_the_help_composes(name):
    _, options, examples = DETAILS[name]
    required = [option for option in options if "(required)" in options[option]]
    lists = [[*required, option] for option in options if option not in required]
    for example in examples:
        program, command, *overrides = shlex.split(example)
        assert (program, command) == ("mlvae", name)
        lists.append([override for override in overrides if override != "-m"])
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for overrides in lists:
            if overrides[-1] == "dataset.root=people" and name == "train":
                overrides = ["dataset=faces", *overrides]
            overrides = [re.sub(r"=(\d+),.*", r"=\1", override) for override in overrides]
            compose(name, overrides)  # raises for an option that does not exist


def test_choices_are_the_files_of_a_group(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    for name in ("b.yaml", "a.yaml", "notes.txt"):
        (tmp_path / "model" / name).touch()
    monkeypatch.setattr("mlvae.commands.configs.CONFIGS", tmp_path)
    assert choices("model") == ["a", "b"] and choices("none") == []


def test_long_lists_of_choices_are_wrapped(monkeypatch):
    names = [f"name-{i}" for i in range(40)]
    monkeypatch.setattr(texts, "choices", lambda group: names)
    out = texts.help_of("prepare")
    assert max(map(len, out.splitlines())) <= 90 and all(name in out for name in names)


# Completion


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mlvae ", set(SUMMARIES)),
        ("mlvae  tr", {"train"}),
        ("./bin/mlvae re", {"reproduce"}),
        ("mlvae train optimizer=", {"optimizer=adam", "optimizer=torch"}),
        ("mlvae  train model=vae model.la", {"model.latent_dim="}),
        ("mlvae prepare dataset=om", {"dataset=omniglot"}),
        ("mlvae benchmark --ro", set()),
        ("mlvae trian dat", set()),
        ("mlvae x", set()),
    ],
)
def test_the_last_word_is_completed(line, expected, call, monkeypatch):
    monkeypatch.setenv("COMP_LINE", line)
    error, out = call("-sc", "query=bash")
    assert error is None and set(out.split()) == expected


@pytest.mark.parametrize("arguments", [["-sc"], ["train", "-sc"], ["evaluate", "-sc"]])
def test_hydras_completion_is_installed_for_mlvae(arguments, call):
    _, out = call(*arguments, "install=bash")
    assert out.rstrip().endswith("-F hydra_bash_completion mlvae")


# Messages


@pytest.mark.parametrize(
    ("program", "line", "name"),
    [
        ("scripts/train.py", "python scripts/evaluate.py", "train"),
        ("/a/clone/scripts/reproduce.py", "python scripts/evaluate.py", "reproduce"),
        ("mlvae train", "mlvae evaluate", "train"),
        ("/usr/bin/mlvae", "mlvae evaluate", "mlvae"),
        ("/home/me/train.py", "mlvae evaluate", "train"),
        ("/home/me/scripts/notebook", "mlvae evaluate", "notebook"),
    ],
)
def test_printed_commands_have_the_form_that_the_user_used(program, line, name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, "run=first"])
    assert command_line("evaluate") == line
    assert command_name() == name


def test_a_script_started_in_its_own_folder_is_a_script(monkeypatch):
    monkeypatch.chdir(ROOT / "scripts")
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert command_line("train") == "python scripts/train.py"


def test_a_training_by_mlvae_prints_the_next_command_of_mlvae(call):
    error, out = call(
        "train", "run=first", "dataset=digits", "trainer.epochs=1", "model.network.hidden=[8]",
        "device=cpu",
    )  # fmt: skip
    assert error is None and out.rstrip().endswith("to evaluate it: mlvae evaluate run=first")


@pytest.mark.parametrize("option", ["trainer.epoch=3", "modle=vae", "model=vea", "trainer.epochs"])
def test_an_error_of_an_option_is_one_line_as_by_the_script(option, call):
    error, _ = call("train", option)
    assert error.startswith("error: ") and "\n" not in error and option.split("=")[0] in error


def test_a_misspelled_option_of_the_command_gets_its_hint(call):
    error, _ = call("evaluate", "run=first", "flder=x")
    assert "did you mean folder?" in error


def test_files_of_ones_own_are_among_the_choices(call, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 5\n")
    error, _ = call("train", "--config-dir", ".", "experiment=mien")
    assert "mine" in error and "mnist_best" in error and "\n" not in error


#: A new process without Hydra; the last command ends it.
WITHOUT_HYDRA = """
import sys
sys.modules.update(hydra=None, omegaconf=None)
from mlvae.commands.main import main
for name in ("train", "evaluate", "explore", "prepare", "reproduce", "export"):
    sys.argv = ["mlvae", name]
    try:
        main()
    except SystemExit as end:
        assert isinstance(end.code, str), end
        print(end.code)
sys.argv = ["mlvae", "train"]
main()
"""


def test_without_hydra_a_command_ends_with_one_line():
    command = [sys.executable, "-c", WITHOUT_HYDRA]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    assert len(lines) == 7
    assert all(line.startswith("error: ") and "3.14" in line for line in lines)
