"""Controls of an evaluation that are trained: a plain VAE, and those of single questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlvae.arguments import as_path
from mlvae.commands import cli
from mlvae.commands.control_configs import conditional_config, transition_config, vae_config
from mlvae.commands.train import train_by
from mlvae.errors import InputError
from mlvae.evaluation import Composition, Rollout
from mlvae.training.checkpoint import read_state

__all__ = ["Controls"]

#: Models that are not compared with a plain VAE: it is one itself, or its observations are
#: trajectories, of which a VAE has no codes of frames.
WITHOUT_VAE = ("VAE", "Rotations")


@dataclass(frozen=True)
class Controls:
    """The controls of a run, which are trained like it if they are missing.

    They are in ``controls/`` of the run. If the answers have a folder of their own, controls that
    are trained now are beside it, in ``<folder>-controls``.

    Attributes:
        run: the run that is evaluated.
        trained: its configuration, with the data and the device of the evaluation.
        step: its number of steps.
        answers: folder of the answers; None: that of the run.
        progress: whether the terminal shows progress.
    """

    run: Path
    trained: dict[str, Any]
    step: int
    answers: str | None
    progress: bool

    @cached_property
    def folder(self) -> Path:
        """The folder of all controls."""
        own = self.run / "controls"
        if self.answers is None or self._is_trained(own / "vae"):
            return own
        answers = as_path("folder", self.answers)
        return answers.with_name(f"{answers.name}-controls")

    def plain_vae(self, vae: str | None, shape: Sequence[int]) -> Path | None:
        """The folder of the plain VAE's run, trained first if it is missing; None: no control.

        Args:
            vae: the option: "auto", None or the folder of a run.
            shape: shape of an observation.
        """
        if vae is None or self.trained["model"]["name"] in WITHOUT_VAE:
            return None
        if vae != "auto":
            return self._given(vae, shape)
        folder = self.folder / "vae"
        words = f"training a plain VAE as control, in {folder}; vae=null turns it off"
        self._train(vae_config(self.trained, folder), folder, words)
        return folder

    def of_questions(self, questions: Iterable[Any]) -> dict[str, Path]:
        """The folders of the controls of single questions by their kind, trained first.

        A rollout compares a model of rotations with other transitions, and a composition compares
        with a VAE that is given the labels.

        Args:
            questions: the questions that can be answered.
        """
        places = {}
        rotates = self.trained["model"].get("transition") == "rotation"
        for question in questions:
            kinds = {kind: self.folder / kind for kind in getattr(question, "controls", ())}
            if isinstance(question, Rollout) and rotates:
                name, text = "rollout", "transition={}"
                configs = {k: transition_config(self.trained, k, at) for k, at in kinds.items()}
            elif isinstance(question, Composition):
                name, text = "composition", "{}, a VAE that is given the labels"
                configs = {k: conditional_config(self.trained, at) for k, at in kinds.items()}
            else:
                continue
            for kind, folder in kinds.items():
                words = (
                    f"training the control {text.format(kind)}, in {folder}; "
                    f"evaluation.{name}.controls=[] turns it off"
                )
                self._train(configs[kind], folder, words)
            places |= kinds
        return places

    def _given(self, vae: str, shape: Sequence[int]) -> Path:
        """The folder that the option ``vae`` names, if it has a plain VAE of such observations."""
        given = read_state(as_path("vae", vae) / "checkpoint.pt")
        name = (given["model_config"] or {}).get("name")
        if name != "VAE":
            raise InputError(f"vae={vae} must be the run of a plain VAE, not of {name}")
        if given["shape"] != list(shape):
            raise InputError(
                f"vae={vae} must be trained on observations of shape {tuple(shape)} like "
                f"{self.run}, not {tuple(given['shape'])}"
            )
        return as_path("vae", vae)

    def _train(self, config: dict[str, Any], folder: Path, words: str) -> None:
        """Train a control in ``folder``, or the rest of it, if it has fewer steps than the run."""
        resume = (folder / "checkpoint.pt").is_file()
        if resume:
            checkpoint = read_state(folder / "checkpoint.pt")
            own = folder.is_relative_to(self.run)
            if not own and not _same_training(checkpoint["config"], config):
                raise InputError(
                    f"{folder} holds the control of another run; choose another folder, or "
                    "delete it"
                )
            if checkpoint["step"] >= self.step:
                return
        cli.say(words)
        result = train_by(config, resume=resume, progress=self.progress)
        if not result.finished:
            raise SystemExit(f"stopped; the next evaluation resumes the control in {folder}")

    def _is_trained(self, folder: Path) -> bool:
        """Whether a folder has a checkpoint of at least as many steps as the run."""
        path = folder / "checkpoint.pt"
        return path.is_file() and read_state(path)["step"] >= self.step


def _same_training(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two configurations differ at most in places, devices, length and reports."""

    def deciding(config: dict[str, Any]) -> dict[str, Any]:
        free = {
            "": ("run", "device", "parts"),
            "trainer": ("epochs", "reports"),
            "dataset": ("root", "cache", "table", "workers"),
        }
        kept = {name: value for name, value in config.items() if name not in free[""]}
        for name in ("trainer", "dataset"):
            options = config.get(name) or {}
            kept[name] = {key: options[key] for key in options if key not in free[name]}
        for name in ("validation", "test"):  # a file of labels may have moved
            if isinstance(kept["dataset"].get(name), str):
                del kept["dataset"][name]
        return kept

    return deciding(one) == deciding(other)
