"""Fields in the path of a file: of a template such as {speaker}/{take}.wav, or an expression."""

from __future__ import annotations

import re

from mlvae.errors import InputError, check_text, shown

__all__ = ["PathPattern"]

#: Parts of a template that stand for text: a field, or any text.
PART = re.compile(r"\{([^{}]*)\}|(\*)")

#: The ending of a file's name.
ENDING = re.compile(r"\.\w+$")


class PathPattern:
    r"""A pattern of whole paths.

    In a template, ``{name}`` is a field and ``*`` is any text. Both are as short as possible and
    have no slash. Letters of its ending, such as ``.wav``, may be small or capital. A pattern with
    a named group, ``(?P<name>...)``, is a regular expression.

    Args:
        pattern: the template or the expression.

    Attributes:
        fields: names of the fields in their order.

    Raises:
        InputError: if the pattern has no field, one field twice, or is no regular expression.

    Example:
        >>> PathPattern("{digit}_{speaker}_*.wav").match("7_theo_12.wav")
        {'digit': '7', 'speaker': 'theo'}
        >>> PathPattern(r"(?P<subject>s\d+)/.*\.wav").match("s12/a/b.wav")
        {'subject': 's12'}
        >>> PathPattern("{speaker}/*.wav").match("theo/2020/1.wav") is None
        True
    """

    def __init__(self, pattern: str) -> None:
        check_text("dataset.pattern", pattern)
        self.pattern = pattern
        try:
            self.expression = re.compile(pattern if "(?P<" in pattern else _translated(pattern))
        except re.error as error:
            raise InputError(
                f"dataset.pattern={shown(pattern)} must be a template as '{{speaker}}/*.wav', or "
                f"a regular expression with named groups: {error}"
            ) from error
        self.fields = tuple(self.expression.groupindex)
        if not self.fields:
            raise InputError(
                f"dataset.pattern={shown(pattern)} must have a field in braces, as "
                "'{speaker}/*.wav'"
            )

    def match(self, path: str) -> dict[str, str] | None:
        """The fields of a path by name, or None if the path has another form."""
        if (found := self.expression.fullmatch(path)) is None:
            return None
        return {name: text or "" for name, text in found.groupdict().items()}


def _translated(template: str) -> str:
    """The regular expression of a template."""
    parts, end = [], 0
    for found in PART.finditer(template):
        name, any_text = found.groups()
        if any_text is None and not name.isidentifier():
            raise InputError(
                f"dataset.pattern={shown(template)} must have names in its braces, not "
                f"{shown(name)}"
            )
        parts += [re.escape(template[end : found.start()])]
        parts += ["[^/]*?" if any_text else f"(?P<{name}>[^/]+?)"]
        end = found.end()
    last = template[end:]
    ending = found.group() if (found := ENDING.search(last)) else ""
    text = re.escape(last.removesuffix(ending))
    return "".join([*parts, text, f"(?i:{re.escape(ending)})"])
