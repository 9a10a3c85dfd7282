"""Identities in the names of files, by the conventions of published collections.

Nothing is grouped by these conventions. They only give the hint which ``dataset.pattern`` would
split the images of one folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["MAX_FOLDERS", "Convention", "convention_of", "hint"]

#: So few folders of identities may be parts of a collection, as train, validation and test.
MAX_FOLDERS = 3

#: Fraction of the names that must follow a convention, and least mean of images per identity.
FRACTION, IMAGES = 0.9, 1.5

END = "[.][^./]+"


class Convention(NamedTuple):
    """Names that follow it, in words, and their pattern, whose group is the identity.

    The patterns have no backslashes, which a shell or a configuration could change.
    """

    words: str
    pattern: str


#: In the order in which they are tried: a general pattern would match names of a special one.
CONVENTIONS = (
    Convention("those of Multi-PIE", f"(?P<identity>[0-9]{{3}})(_[0-9]{{2,3}}){{4}}{END}"),
    Convention("those of CMU PIE", f"(?P<identity>[0-9]{{5}})_c?[0-9]{{2}}(_f?[0-9]{{2}})?{END}"),
    Convention(
        "those of FERET", f"(?P<identity>[0-9]{{5}})(_[0-9]{{6}}_)?[a-z]{{2}}[a-z0-9_]*{END}"
    ),
    Convention("those of VGGFace2", f"(?P<identity>n[0-9]{{6}})_[0-9]{{4}}_[0-9]{{2}}{END}"),
    Convention("those of IMDB-WIKI", f"(?P<identity>nm[0-9]{{7}})_rm[0-9]+_[^/]+{END}"),
    Convention("those of SCface", f"(?P<identity>[0-9]{{3}})_(cam[0-9]|frontal)[^/]*{END}"),
    Convention("those of MORPH", f"(?P<identity>[0-9]{{5,6}})_[0-9]+[MF][0-9]{{2}}{END}"),
    Convention("those of FG-NET", f"(?P<identity>[0-9]{{3}})[Aa][0-9]{{2}}[a-z]?{END}"),
    Convention("those of AgeDB", f"[0-9]+_(?P<identity>[^_/]+)_[0-9]+_[mf]{END}"),
    Convention("those of CACD", f"[0-9]{{2}}_(?P<identity>[^/]+)_[0-9]{{4}}{END}"),
    Convention("those of Extended Yale B", f"(?P<identity>yaleB[0-9]{{2}})_P[0-9]{{2}}[^/]*{END}"),
    Convention("those of Yale", "(?P<identity>subject[0-9]{2})[.][^/]+"),
    Convention("those of JAFFE", f"(?P<identity>[A-Z]{{2}})[.][A-Z]{{2}}[0-9][.][0-9]+{END}"),
    Convention("those of KDEF", f"[AB](?P<identity>[FM][0-9]{{2}})[A-Z]{{3,4}}{END}"),
    Convention("those of MUCT", f"(?P<identity>i[0-9]{{3}})[q-t][a-e]-[fm][gn]{END}"),
    Convention("those of LFW", f"(?P<identity>[^/]*[^/0-9_])_[0-9]{{4}}{END}"),
    Convention("those of AT&T", f"(?P<identity>s[0-9]+)[._-]+[0-9]+{END}"),
    Convention("<identity>_<number>", f"(?P<identity>[^/]+?)[ ._-]+[0-9]+{END}"),
)  # fmt: skip

#: Names without an identity.
NUMBERS = re.compile(f"[0-9]+{END}")


def convention_of(names: Sequence[str]) -> Convention | None:
    """The first convention that the names of files follow and that gives several identities."""
    for convention in CONVENTIONS:
        matches = [re.fullmatch(convention.pattern, name) for name in names]
        labels = [match["identity"] for match in matches if match is not None]
        if len(labels) < FRACTION * len(names):
            continue
        if len(set(labels)) > 1 and IMAGES * len(set(labels)) <= len(labels):
            return convention
    return None


def hint(names: Sequence[str], identities: Sequence[str]) -> str:
    """How to group files by their names, if they are hardly grouped by folders; or "".

    Args:
        names: paths of files, or of a part of them, N.
        identities: their present identities, N.
    """
    groups = len(set(identities))
    flat = all("/" not in name for name in names)
    if len(names) < 2 or (not flat and groups > MAX_FOLDERS):
        return ""
    last = [name.rpartition("/")[2] for name in names]
    convention = convention_of(last)
    if convention is not None:
        labels = {
            name: match["identity"]
            for name in last
            if (match := re.fullmatch(convention.pattern, name)) is not None
        }
        now = dict(zip(last, identities, strict=True))
        present = [now[name] for name in labels]
        if present == list(labels.values()) or (not flat and len(set(labels.values())) <= groups):
            return ""
        name, label = next(iter(labels.items()))
        return (
            f"the images are in {_counted(groups, flat)}; to group them by their names, like "
            f"{convention.words} ({name} is of {label}), set "
            f"'dataset.pattern=\"{convention.pattern}\"'"
        )
    if groups > 1:
        return ""
    if sum(NUMBERS.fullmatch(name) is not None for name in last) >= FRACTION * len(last):
        return (
            f"the images are in {_counted(groups, flat)}, and their names are only numbers, as "
            f"{last[0]}: give the identities in dataset.table, as identity_CelebA.txt of CelebA"
        )
    return (
        f"the images are in {_counted(groups, flat)}; if their names, as {last[0]}, have the "
        "identity, set 'dataset.pattern=\"(?P<identity>[^/_]+)_.+\"', or another one; otherwise "
        "give the identities in dataset.table"
    )


def _counted(groups: int, flat: bool) -> str:
    if flat:
        return "no folder of an identity"
    return "one folder, which is one group" if groups == 1 else f"{groups} folders, one group each"
