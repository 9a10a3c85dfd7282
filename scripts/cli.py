"""What every script does with an error: one clear line for what a user can mend, else all."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverrideParseException
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlvae.errors import Diverged, InputError, RankLost, check_choice

__all__ = [
    "JobFailed",
    "check_options",
    "job_of_sweep",
    "one_line_errors",
    "plain",
    "with_absolute_paths",
]

CONFIGS = Path(__file__).parent.parent / "configs"

# Anything that is not the user's to mend comes with its whole traceback.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")

# A job that a launcher starts, on a cluster for one, is no script: it has to find this module.
HERE = str(Path(__file__).parent)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (HERE, os.environ.get("PYTHONPATH"))))


class JobFailed(Exception):
    """A job of a sweep has said why it failed; the others go on."""


@contextmanager
def one_line_errors(job: str | None = None) -> Iterator[None]:
    """End the process with one line on standard error where the user is to act.

    Args:
        job: name of a job of a sweep, whose line begins with it. It raises :class:`JobFailed`
            instead, for a process may have other jobs to do; the sweep fails when all have ended.
    """
    try:
        yield
    except (InputError, Diverged, RankLost, JobFailed) as error:
        line = str(error)
    except (HydraException, OmegaConfBaseException) as error:
        line = _one_line(error)
    except ValueError as error:  # Hydra's own, of model=null for one
        if not str(error).startswith("Config group override"):
            raise
        line = f"{error}: name a file of the group, as model=mlvae"
    except KeyboardInterrupt:
        if job is not None:
            raise
        line = "interrupted"  # a training saves first, so do the jobs of a sweep
    else:
        return
    if job is None:
        sys.exit(f"error: {line}")
    print(f"error: {job}: {line}", file=sys.stderr, flush=True)
    raise JobFailed("not all jobs of the sweep came to their end")


def job_of_sweep() -> str | None:
    """What tells this job of a sweep from the others, or None if there is no sweep."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return None
    return f"job {hydra.job.num} ({' '.join(hydra.overrides.task)})"


def plain(cfg: DictConfig) -> dict[str, object]:
    """The configuration as resolved plain values, none of them missing."""
    if missing := OmegaConf.missing_keys(cfg):
        name = min(missing)
        raise InputError(f"{name} has no default: give it on the command line, {name}=...")
    return OmegaConf.to_container(cfg, resolve=True)


def check_options(
    config: dict[str, object], sections: Collection[str], others: Collection[str]
) -> None:
    """Raise :class:`InputError` unless a configuration has its sections and no other options.

    A ``+`` on the command line adds any option, a ``~`` takes any away, and null is a value.

    Args:
        config: plain values by name.
        sections: names whose values are options by name.
        others: names of its other options.
    """
    for name in config:
        check_choice("an option", name, [*sections, *others])
    for name in sections:
        if not isinstance(config.get(name), dict):
            raise InputError(
                f"{name} must be options by name, as a file of configs/{name} has them, not "
                f"{config.get(name)!r}"
            )
    for name in others:
        if name not in config:
            raise InputError(f"the option {name} must not be taken away")


def with_absolute_paths(dataset: dict[str, object]) -> dict[str, object]:
    """A dataset's options that mean the same wherever a run is continued from."""

    def absolute(path: object) -> object:
        if isinstance(path, list):
            return [absolute(each) for each in path]
        return path if path is None else str(Path(path).expanduser().absolute())

    paths = {key: absolute(dataset[key]) for key in ("root", "cache", "table") if key in dataset}
    return dataset | paths


def _one_line(error: Exception) -> str:
    """What Hydra says of a wrong override, with the option or choice that was probably meant."""
    if isinstance(error, OverrideParseException):
        return f"the override {error.override!r} cannot be read; write option=value"
    message = " ".join(str(error).split())
    if match := re.search(r"Could not override '([^']+)'", message):
        close = difflib.get_close_matches(match[1], _option_names(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        if close == [match[1]]:  # of another choice of its group
            return (
                f"there is no option {match[1]} in this choice of {match[1].split('.')[0]}; "
                f"choose another, or to resume a run that has one write +{match[1]}=..."
            )
        return f"there is no option {match[1]}; {hint}`--cfg job` lists all options"
    if match := re.search(r"Could not (?:find|load) '([^']+)/([^/']+)'", message):
        names = sorted(path.stem for path in (CONFIGS / match[1]).glob("*.yaml"))
        return f"{match[1]} must be one of {', '.join(names)}, not {match[2]!r}"
    return f"{message}; `--cfg job` lists all options"


def _option_names() -> list[str]:
    """Dotted names of the options in the config files, for a hint."""
    # Of the top-level files, a script has the one of its own name.
    paths = [path for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "tables"]
    paths.append(CONFIGS / f"{Path(sys.argv[0]).stem}.yaml")
    names = {path.parent.name for path in paths if path.parent != CONFIGS}
    for path in paths:
        package = "" if path.parent == CONFIGS else path.parent.name
        if header := re.match(r"# @package (\S+)", path.read_text()):
            package = "" if header[1] == "_global_" else header[1]
        names.update(_dotted(OmegaConf.to_container(OmegaConf.load(path)), package))
    return sorted(names)


def _dotted(config: object, prefix: str) -> list[str]:
    if not isinstance(config, dict):
        return [prefix]
    names = []
    for key, value in config.items():
        if key not in ("defaults", "hydra"):
            names += _dotted(value, f"{prefix}.{key}" if prefix else key)
    return names
