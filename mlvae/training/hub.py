"""Models on the Hugging Face Hub, by names such as hf://user/name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlvae.errors import InputError, shown
from mlvae.training.portable import CONFIG, WEIGHTS

__all__ = ["HUB", "check_repository", "downloaded", "hub_package"]

#: What a name on the hub begins with.
HUB = "hf://"

#: The user or the name of a repository.
PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def downloaded(name: str) -> Path:
    """The folder with the model of a name, which is downloaded once to the cache of the hub.

    Args:
        name: "hf://user/name", or "hf://user/name@revision".

    Raises:
        InputError: if the package huggingface_hub is missing, or the hub has no such model.
    """
    repository, _, revision = name.removeprefix(HUB).partition("@")
    check_repository(repository)
    hub = hub_package()
    try:
        folder = hub.snapshot_download(
            repository, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS]
        )
    except Exception as error:  # errors of the hub, of HTTP and of the network
        raise InputError(
            f"{HUB}{repository} cannot be loaded ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    return Path(folder)


def check_repository(repository: object) -> None:
    """Raise :class:`InputError` unless ``repository`` has the form "user/name"."""
    parts = repository.split("/") if isinstance(repository, str) else []
    if len(parts) != 2 or not all(map(PART.fullmatch, parts)):
        raise InputError(
            'the name on the hub must be "user/name", of letters, digits, ".", "_" and "-", not '
            f"{shown(repository)}"
        )


def hub_package() -> Any:
    """The package huggingface_hub.

    Raises:
        InputError: if it is missing.
    """
    try:
        import huggingface_hub  # optional
    except ImportError as error:
        raise InputError(
            "models on the hub need the package huggingface_hub: pip install 'mlvae[share]'"
        ) from error
    return huggingface_hub
