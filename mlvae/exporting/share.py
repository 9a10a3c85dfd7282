"""A run on the Hugging Face Hub, with a model card."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlvae.arguments import as_path
from mlvae.errors import InputError, check_flag, check_text
from mlvae.exporting.card import card
from mlvae.exporting.export import export
from mlvae.training.files import replace_file
from mlvae.training.hub import check_repository, hub_package
from mlvae.training.portable import write_portable
from mlvae.training.run import load

__all__ = ["share", "write_shared"]

#: Largest size of metrics.json in bytes.
MOST_BYTES = 64 * 2**20


def share(
    run: str | Path,
    name: str,
    *,
    best: bool = False,
    parts: Sequence[type] = (),
    private: bool = False,
    licence: str | None = None,
    graphs: bool = True,
) -> str:
    """Upload the model of a run to the Hugging Face Hub.

    The repository receives ``model.safetensors``, ``config.json``, the graphs of
    :func:`mlvae.export` if the model has them, ``metrics.json`` of the evaluation without the
    places of this machine, and ``README.md``, a model card with its figures. Data, pictures and
    the configuration of the training stay here. You must be logged in: ``hf auth login``.

    Args:
        run: folder of a run.
        name: name of the repository, "user/name". It is made if it is missing.
        best: the state with the lowest validation loss, instead of the last one.
        parts: your own classes that the run has, as for :func:`mlvae.load`.
        private: whether a new repository is private.
        licence: licence of the model in the card, as "mit"; None: the card states none.
        graphs: whether the repository has the graphs. A model that cannot be exported needs False.

    Returns:
        The address of the commit.

    Raises:
        InputError: if the run cannot be loaded or exported, or the upload fails.

    Example::

        mlvae.share("runs/first", "someone/letters", private=True)
    """
    check_repository(name)
    check_flag("private", private)
    check_flag("graphs", graphs)
    hub = hub_package()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write_shared(run, path, name, best=best, parts=parts, licence=licence, graphs=graphs)
        try:
            hub.create_repo(name, private=private, exist_ok=True)
            commit = hub.upload_folder(
                repo_id=name, folder_path=path, commit_message="A model of mlvae"
            )
        except Exception as error:  # errors of the hub, of HTTP and of the network
            raise InputError(
                f"{name} cannot be uploaded ({type(error).__name__}: {str(error)[:200]})"
            ) from error
    return str(commit)


def write_shared(
    run: str | Path,
    folder: Path,
    name: str,
    *,
    best: bool = False,
    parts: Sequence[type] = (),
    licence: str | None = None,
    graphs: bool = True,
) -> None:
    """Write the files that :func:`share` uploads to ``folder``; the arguments are those of it."""
    if licence is not None:
        check_text("licence", licence)
    place = as_path("run", run)
    model = load(place, best=best, parts=parts)
    if graphs:
        export(model, folder)
    else:
        write_portable(model, folder)
    source = place / "evaluation" / "metrics.json"
    metrics = _metrics(source)
    if metrics is not None:
        text = json.dumps(metrics, indent=2, ensure_ascii=False) + "\n"
        replace_file(folder / "metrics.json", text.encode())
    try:
        text = card(model, name, metrics, licence=licence, graphs=graphs)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _damaged(source, error) from error
    replace_file(folder / "README.md", text.encode())


def _metrics(path: Path) -> dict[str, Any] | None:
    """The content of metrics.json without places of this machine; None if there is no file."""
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        metrics = json.loads(path.read_text(encoding="utf-8"))
        facts = metrics.get("facts", {})
        return {**metrics, "facts": {key: facts[key] for key in facts if key != "run"}}
    except (OSError, ValueError, RecursionError, AttributeError, LookupError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged ({error}); evaluate the run again")
