"""Errors, options and paths of the commands.

An error that the user can correct ends a command with one line, any other error with its
traceback.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlvae.arguments import as_path, is_address
from mlvae.commands.configs import CONFIGS, choices
from mlvae.errors import Diverged, InputError, RankLost, check_choice, shown
from mlvae.invocation import command_name
from mlvae.training.monitor import quoted
from mlvae.training.settings import RENAMED

__all__ = [
    "Config",
    "JobFailed",
    "argument",
    "check_options",
    "check_text_option",
    "job_of_sweep",
    "one_line_errors",
    "resolved",
    "say",
    "with_absolute_paths",
    "with_usable_cache",
]

#: Options by name, as plain values: what a config file or a checkpoint holds.
Config = dict[str, Any]

# Hydra must not shorten the traceback of an error in the code.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")


class JobFailed(Exception):
    """A job of a sweep failed and has printed its error; the other jobs continue."""


@contextmanager
def one_line_errors(job: str | None = None) -> Iterator[None]:
    """End the process with one line on standard error if the user can correct the error.

    Args:
        job: name of a job of a sweep. The line begins with it, and :class:`JobFailed` is raised
            instead of ending the process, which may run further jobs. The sweep fails after all
            jobs have ended.
    """
    try:
        yield
    except (InputError, Diverged, RankLost, JobFailed) as error:
        line = str(error)
    except (HydraException, OmegaConfBaseException) as error:
        line = _one_line(error)
    except (ValueError, TypeError) as error:  # of Hydra, for instance for model=null, model=[1]
        if str(error).startswith("Config group override"):
            line = f"{error}: name a file of the group, as model=mlvae"
        elif _raised_by_hydra(error):
            line = (
                f"an option cannot have this value: {' '.join(str(error).split())}; a group takes "
                "the name of a file, as model=mlvae, and a list is given as a whole, [500,500]"
            )
        else:
            raise
    except OSError as error:  # of Hydra, for instance where it makes the folder of a sweep
        if not _raised_by_hydra(error):
            raise
        line = (
            f"the folder of the sweep must be writable, but {str(error.filename)!r}: "
            f"{error.strerror}; choose another, hydra.sweep.dir=..."
        )
    except KeyboardInterrupt:
        if job is not None:
            raise
        line = "interrupted"  # a training and the jobs of a sweep save before they end
    else:
        return
    if job is None:
        sys.exit(f"error: {line}")
    print(f"error: {job}: {line}", file=sys.stderr, flush=True)
    raise JobFailed("not all jobs of the sweep finished")


def say(message: str) -> None:
    """Print a line. A closed pipe or a full disk behind standard output is no error."""
    try:
        print(message, flush=True)
    except OSError:
        # Python writes the rest of the buffer at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def argument(name: str, value: object) -> str:
    """An option and its value as one argument to paste into a shell.

    Example:
        >>> print(argument("run", "runs/lr=0.1"))
        'run="runs/lr=0.1"'
    """
    return shlex.quote(f"{name}={quoted(value)}")


def job_of_sweep() -> str | None:
    """Number and overrides of this job of a sweep; None outside a sweep."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return None
    return f"job {hydra.job.num} ({' '.join(hydra.overrides.task)})"


def resolved(cfg: DictConfig) -> Config:
    """The configuration as resolved plain values; a missing value is an :class:`InputError`."""
    if missing := OmegaConf.missing_keys(cfg):
        name = min(missing)
        raise InputError(f"{name} has no default: give it on the command line, {name}=...")
    return dict_of(cfg, resolve=True)


def dict_of(cfg: DictConfig, *, resolve: bool = False) -> Config:
    """The options as a plain dictionary."""
    config = OmegaConf.to_container(cfg, resolve=resolve)
    assert isinstance(config, dict)
    return {str(name): value for name, value in config.items()}


def check_options(config: Config, sections: Collection[str], others: Collection[str]) -> None:
    """Raise :class:`InputError` unless a configuration has all its options and no further ones.

    On the command line ``+`` adds any option, ``~`` removes any option, and null is a value.

    Args:
        config: plain values by name.
        sections: names of the options whose values are dictionaries of options.
        others: names of the other options.
    """
    for name in config:
        check_choice("an option", name, [*sections, *others])
    for name in sections:
        if not isinstance(config.get(name), dict):
            raise InputError(
                f"{name} must be options by name, as in a file of configs/{name}, not "
                f"{config.get(name)!r}"
            )
    for name in others:
        if name not in config:
            raise InputError(f"the option {name} must not be removed")


def with_absolute_paths(dataset: Config) -> Config:
    """The options of a dataset with absolute paths, valid in every working directory."""

    def absolute(name: str, path: object) -> object:
        if name == "root" and isinstance(path, list) and path:
            return [absolute("", part) for part in path]
        if name in ("root", "") and is_address(path):  # the dataset refuses those it cannot open
            return path
        option = f"dataset.{name or 'root'}"
        check_text_option(option, path, optional=name == "table")
        return path if path is None else str(as_path(option, path).absolute())

    names = [name for name in ("root", "cache", "table") if name in dataset]
    if "within" in dataset:  # its groups may be split, and those held out be listed in files
        names += [name for name in ("validation", "test") if isinstance(dataset.get(name), str)]
    if isinstance(dataset.get("kinds"), str) and dataset["kinds"] != "inferred":
        names.append("kinds")
    return dataset | {name: absolute(name, dataset[name]) for name in names}


def with_usable_cache(dataset: Config) -> Config:
    """The options of a run's dataset, with the user's own cache if the run's cannot be used.

    The folder of the run's cache may be on another machine. It is never created.
    """
    if "cache" not in dataset:
        return dataset
    check_text_option("dataset.cache", dataset["cache"])
    cache = as_path("dataset.cache", dataset["cache"])
    try:
        usable = os.access(cache, os.W_OK | os.X_OK) or any(cache.glob("*/manifest.json"))
        usable = usable and cache.is_dir()
    except (OSError, ValueError):
        usable = False
    own = Path(os.environ.get("MLVAE_CACHE", "cache")).expanduser().absolute()
    if usable or own == cache:
        return dataset
    say(f"the cache of the run, {str(cache)!r}, cannot be used; {own} is used instead")
    return dataset | {"cache": str(own)}


def check_text_option(name: str, value: object, *, optional: bool = True) -> None:
    """Raise :class:`InputError` unless the value of an option is text, or None if optional."""
    if isinstance(value, str) or (optional and value is None):
        return
    hint = ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        hint = f"; a name of digits needs quotes: {argument(name, value)}"
    raise InputError(f"{name} must be text, as the path of a folder, not {shown(value)}{hint}")


def _one_line(error: Exception) -> str:
    """Hydra's error about an override as one line, with the most similar option or choice."""
    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override))
    message = " ".join(str(error).split())
    if match := re.search(r"Ambiguous value for argument '(.*?)' 1\. To use it", message):
        return _several(match[1])
    if match := re.search(r"Could not override '([^']+)'", message):
        group, _, name = match[1].partition(".")
        if group == "trainer" and name in RENAMED:
            return f"the option {match[1]} is now trainer.{RENAMED[name]}"
        if (CONFIGS / match[1]).is_dir():
            return (
                f"{match[1]} must be the name of a file in configs/{match[1]}; for options by "
                f"player write '~{match[1]}' '+{match[1]}={{model: ...}}'"
            )
        close = difflib.get_close_matches(match[1], _option_names(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        if close == [match[1]]:  # another choice of the group has it
            return (
                f"there is no option {match[1]} in this choice of {match[1].split('.')[0]}; "
                f"choose another, or write +{match[1]}=... to resume a run that has the option"
            )
        return f"there is no option {match[1]}; {hint}`--cfg job` lists all options"
    if match := re.search(r"Error merging override ([^=]+)=(\S*)", message):
        return f"the option {match[1]} must have the type of its default, not {match[2]}"
    if match := re.search(r"Could not (?:find|load) '([^']+)/([^/']+)'", message):
        names = choices(match[1])
        if own := re.search(r"Available options in '[^']+': (.+?) Config search path", message):
            names = own[1].split()  # also those of a folder that --config-dir adds
        return f"{match[1]} must be one of {', '.join(names)}, not {match[2]!r}"
    return f"{message}; `--cfg job` lists all options"


def _raised_by_hydra(error: Exception) -> bool:
    """Whether an error was raised within Hydra or OmegaConf, or in the standard library below."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    packages = [name.split(".")[0] for name in frames]
    while packages and packages[-1] in sys.stdlib_module_names:
        packages.pop()
    return bool(packages) and packages[-1] in ("hydra", "omegaconf")


def _unreadable(override: str) -> str:
    """The error for an override that Hydra cannot read, with the override in quotes to paste."""
    shown_override = " ".join(override.split())
    name, equals, value = override.partition("=")
    if not equals or not re.fullmatch(r"[+~]{0,2}[\w.@/-]+", name):
        return f"the override {shown_override!r} cannot be read; write option=value"
    if value.startswith("[") and value.endswith("]"):
        items = ",".join(quoted(item.strip("\"' ")) for item in value[1:-1].split(","))
        paste = shlex.quote(f"{name}=[{items}]")
    else:
        paste = argument(name, value)
    return f"the override {shown_override!r} cannot be read; as one text it is {paste}"


def _several(override: str) -> str:
    """The error for an override with a comma, which has several values only with ``-m``."""
    name, _, value = override.partition("=")
    return (
        f"{name} has several values, {shown(value)}: for a run of each, add -m; for a list, write "
        f"{shlex.quote(f'{name}=[{value}]')}; for one text, {argument(name, value)}"
    )


def _option_names() -> list[str]:
    """Dotted names of the options in the config files, for a hint."""
    # A command uses the top-level config file that has its name.
    paths = [path for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "tables"]
    paths.append(CONFIGS / f"{command_name()}.yaml")
    names = {path.parent.name for path in paths if path.parent != CONFIGS}
    for path in filter(Path.is_file, paths):
        package = "" if path.parent == CONFIGS else path.parent.name
        if header := re.match(r"# @package (\S+)", path.read_text()):
            if header[1] == "_global_":  # an experiment sets options and adds none
                continue
            package = header[1]
        names.update(_dotted(OmegaConf.to_container(OmegaConf.load(path)), package))
    return sorted(names)


def _dotted(config: object, prefix: str) -> list[str]:
    """Dotted names of the options in ``config``."""
    if not isinstance(config, dict):
        return [prefix]
    names = []
    for key, value in config.items():
        if key not in ("defaults", "hydra"):
            names += _dotted(value, f"{prefix}.{key}" if prefix else key)
    return names
