"""Checks of the options of questions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from mlvae.errors import InputError, check_choice, check_integer
from mlvae.parts import take_lists

__all__ = ["check_question"]


def check_question(
    question: Any,
    *lists: str,
    minimum: Mapping[str, int],
    choices: Mapping[str, Collection[str]] = {},
) -> None:
    """Check the options of a question, for its ``__post_init__``; lists become tuples.

    Args:
        question: a frozen dataclass. An option whose default is None may be None.
        lists: options that are lists of at least one element.
        minimum: smallest integer by option; of a list, smallest element.
        choices: allowed names by option; of a list, allowed elements.

    Raises:
        InputError: if an option is out of range.
    """
    where = f"evaluation.{type(question).__name__.lower()}"
    given = [
        field.name
        for field in fields(question)
        if field.default is not None or vars(question)[field.name] is not None
    ]
    take_lists(question, where, *[name for name in lists if name in given])
    for name in given:
        value = vars(question)[name]
        if name in lists and not value:
            raise InputError(f"{where}.{name} must not be an empty list")
        for element in value if name in lists else [value]:
            if name in minimum:
                check_integer(f"{where}.{name}", element, minimum=minimum[name])
            if name in choices:
                check_choice(f"{where}.{name}", element, choices[name])
