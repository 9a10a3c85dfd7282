"""Configurations of the runs of controls, made from that of the run that is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlvae.errors import InputError, check_integer
from mlvae.training.settings import renamed_options

__all__ = ["conditional_config", "transition_config", "vae_config"]


def vae_config(trained: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration of the run with a plain VAE, with as many latent dimensions."""
    model = trained["model"]
    dims = dict[str, Any]()
    for name, value in model.items():
        if name.endswith("_dim"):
            several = value if isinstance(value, dict) else {"": value}
            dims |= {f"{name}.{part}".rstrip("."): dim for part, dim in several.items()}
    for name, value in dims.items():
        check_integer(f"model.{name}", value, minimum=1)
    parts = {
        name: model[name] for name in ("network", "likelihood", "standardise") if name in model
    }
    trainer = renamed_options(trained["trainer"])
    warmup = trainer.get("warmup", {})
    if not isinstance(warmup, dict):
        raise InputError(f"trainer.warmup must be options by name, not {warmup!r}")
    warmup = {**warmup, "content_first_steps": 0, "information_after": 0, "entanglement_steps": 0}
    optimizer = trained["optimizer"]
    if "name" not in optimizer:  # a recipe for each player, of which a VAE has one
        optimizer = optimizer.get("model")
    rates = optimizer.get("learning_rates", {}) if isinstance(optimizer, dict) else None
    if not isinstance(rates, dict):
        raise InputError(f"the optimizer of {folder.parent} must be options by name")
    rates = {name: rate for name, rate in rates.items() if name in ("encoder", "decoder")}
    return {
        **trained,
        "optimizer": {**optimizer, "learning_rates": rates},
        "model": {"name": "VAE", "latent_dim": sum(dims.values()), "kl_weight": 1.0, **parts},
        "trainer": {**trainer, "warmup": warmup},
        "run": str(folder),
    }


def transition_config(trained: dict[str, Any], kind: str, folder: Path) -> dict[str, Any]:
    """The configuration of the run of a model of rotations with another kind of transition."""
    model = {**trained["model"], "transition": kind}
    trainer = renamed_options(trained["trainer"])
    return {**trained, "model": model, "trainer": trainer, "run": str(folder)}


def conditional_config(trained: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration of the run with a VAE that is given the labels of all groupings."""
    config, model = vae_config(trained, folder), trained["model"]
    kept = ("content_dim", "style_dim", "style_kl_weight", "network", "likelihood", "standardise")
    parts = {name: model[name] for name in kept if name in model}
    return {**config, "model": {"name": "ConditionalVAE", "group_names": None, **parts}}
