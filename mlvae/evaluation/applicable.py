"""The questions that apply to a model, of questions that nobody chose.

Some questions are about one kind of model: codes of known groups, words of documents, missing
cells, actions. Nobody asks them of another model, so a report without a choice of questions does
not name them. A question that somebody chose always has an answer, if only the reason why it was
not evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["applicable", "applies"]


def applies(question: Any, model: Any) -> bool:
    """Whether a question can be asked of a model.

    A question about one kind of model has a method ``applies(model)``. Every other question
    applies to all models.

    Args:
        question: an instance of a question.
        model: the model.

    Example:
        >>> from mlvae.evaluation import Leakage, Rollout
        >>> from mlvae.models import VAE
        >>> model = VAE((2,))
        >>> applies(Leakage(), model), applies(Rollout(), model)
        (True, False)
    """
    own = getattr(question, "applies", None)
    return own is None or own(model)


def applicable(questions: Sequence[Any], model: Any) -> list[Any]:
    """The questions of a list that nobody chose, without those about another kind of model.

    A question with an option that is not its default was chosen.

    Args:
        questions: instances of questions, all of them.
        model: the model.
    """
    return [
        question
        for question in questions
        if applies(question, model) or question != type(question)()
    ]
