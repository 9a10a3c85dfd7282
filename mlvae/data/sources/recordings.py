"""Recordings in a folder of WAV files, and the Free Spoken Digit Dataset.

Shapes: N recordings, M mel bands, T frames, L samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from mlvae.arguments import as_path
from mlvae.data.collections.members import printable
from mlvae.data.grouped import GroupedData
from mlvae.data.labels import joined_labels
from mlvae.data.signals.path_pattern import PathPattern
from mlvae.data.signals.reader import Form, Recordings, read_recordings
from mlvae.data.signals.spectrogram import LogMel
from mlvae.data.splitting.field_splits import split_by_fields
from mlvae.data.splitting.splits import Splits
from mlvae.errors import (
    InputError,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_text,
    check_texts,
    shown,
)

__all__ = ["fsdd", "recordings"]

FEATURES, LEVELS = ("logmel", "wave"), ("keep", "rms")

#: Longest window of a recording: an hour.
MOST_SECONDS = 3600

#: Largest number of pieces of a spectrogram's time.
MOST_FRAMES = 100_000

#: Paths of the Free Spoken Digit Dataset, and its takes of the test.
PATTERN = r"(?:.*/)?(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.wav"
TEST_TAKES = (0, 1, 2, 3, 4)

#: Places of its recordings below a root.
PLACES = tuple(
    f"{folder}{name}{ending}"
    for folder in ("", "fsdd/", "free-spoken-digit-dataset/", "free-spoken-digit-dataset-master/")
    for name in ("recordings",)
    for ending in ("", ".tar.xz", ".tar.gz", ".tar", ".zip")
)


def recordings(
    root: str | Path,
    *,
    pattern: str = "{group}/*.wav",
    group: str | Sequence[str] = "group",
    factors: Sequence[str] | None = None,
    features: str = "logmel",
    rate: int | None = None,
    seconds: float | None = None,
    frames: int | None = None,
    level: str = "keep",
    bands: int = 40,
    window: float = 0.025,
    hop: float = 0.01,
    low: float = 0.0,
    high: float | None = None,
    skip: bool = False,
    split: str | None = None,
    validation: Any = 0.1,
    test: Any = 0.1,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """Recordings in a folder of WAV files, with a group in the path of each file.

    An observation is a log-mel spectrogram (M, T), whose channels are mel bands; or the wave
    (1, L). All have one length: ``seconds`` cuts longer recordings to their middle and pads
    shorter ones with silence; ``frames`` averages each spectrogram over equal pieces of its time,
    so that slow and fast words have one length. Files of 8, 16, 24, 32 and 64 bits are numbers in
    [-1, 1]; several channels are averaged. All that is changed or left out is printed.

    Args:
        root: a folder; or a ``.zip`` or ``.tar`` archive of one.
        pattern: form of the paths below ``root``, with fields in braces, as
            ``{speaker}/{take}.wav``; or a regular expression with named groups. See
            :class:`~mlvae.data.signals.path_pattern.PathPattern`.
        group: the field whose values are the groups; ``a+b`` for pairs of values of two fields; or
            a list of fields, one for each of several groupings.
        factors: fields that become known factors. Words become their number in sorted order.
            None: all fields of numbers but those of ``group``.
        features: "logmel" or "wave".
        rate: sample rate to which recordings are resampled; None: all must have one.
        seconds: length of the window of each recording.
        frames: number T of equal pieces of a spectrogram's time.
        level: "rms" brings all recordings to one root mean square, -20 dB of full scale; "keep"
            keeps their levels.
        bands: mel bands M.
        window: length of the windows of the spectrogram, in seconds.
        hop: distance of these windows in seconds.
        low: lowest frequency in Hz.
        high: highest frequency in Hz; None: half the sample rate.
        skip: leave out files that cannot be used, instead of an error.
        split: "groups" (None), "members" or "observations", as ``by`` of
            :func:`mlvae.data.split`.
        validation: size of the validation part as in :func:`mlvae.data.split`, or values of
            fields, such as ``{"take": [0, 1]}``; see
            :func:`~mlvae.data.splitting.field_splits.split_by_fields`.
        test: as ``validation``.
        within: with split="groups", fraction of each training group's recordings for the test.
        unseen_groups: labels of groups to keep out of training, validation and test.
        seed: seed of the split.

    Raises:
        InputError: if there is no usable recording, or files differ in rate or length.
    """
    check_flag("dataset.skip", skip)
    form = _form(features, seconds, frames, level, bands, window, hop, low, high)
    if rate is not None:
        check_integer("dataset.rate", rate, minimum=1)
    found = read_recordings(
        as_path("dataset.root", root), PathPattern(pattern), form, rate=rate, skip=skip
    )
    for remark in found.remarks:
        print(remark, flush=True)
    data = GroupedData(
        found.x,
        _labels(found, group) if isinstance(group, str) else None,
        _factors(found, group, factors),
        groups=None if isinstance(group, str) else _groupings(found, group),
        names=np.array([printable(name) for name in found.names]),
        kind="array",
    )
    return split_by_fields(
        data,
        found.fields,
        split=split,
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
    )


def fsdd(
    root: str | Path = "data",
    *,
    group: str | Sequence[str] = "speaker",
    unseen_speakers: Sequence[str] = (),
    unseen_digits: Sequence[str] = (),
    frames: int = 32,
    level: str = "rms",
    validation: Any = 0.1,
    seed: int = 0,
) -> Splits:
    """The Free Spoken Digit Dataset: digits spoken by six people, grouped by speaker or digit.

    Z. Jackson and others: Free Spoken Digit Dataset, 2016. 3,000 recordings at 8 kHz: 6 speakers,
    10 digits, 50 takes. An observation is a log-mel spectrogram of 40 bands over ``frames`` equal
    pieces of time. The test has takes 0 to 4 of every speaker and digit, as published.

    Args:
        root: the folder of the recordings, an archive of it, or a folder with it.
        group: "speaker" or "digit"; the other one is the known factor (speakers by their number
            in sorted order). Or a list of both, the first of which is the primary grouping.
        unseen_speakers: speakers who are kept out of training. With group="speaker" they are
            ``Splits.unseen``. With group="digit" all their recordings are the test, and no others.
            With a list, the first grouping decides.
        unseen_digits: digits that are kept out of training, likewise: with group="digit" they are
            ``Splits.unseen``, with group="speaker" the test.
        frames: as of :func:`recordings`.
        level: as of :func:`recordings`.
        validation: number or fraction of the other recordings for validation, drawn at random.
        seed: seed of the draw.

    Raises:
        InputError: if the recordings are not found, or a speaker or a digit is unknown.
    """
    groups = [group] if isinstance(group, str) else group
    check_texts("dataset.group", groups)
    for name in groups or [""]:
        check_choice("dataset.group", name, ("speaker", "digit"))
    check_integer("dataset.frames", frames, minimum=1)
    if not isinstance(unseen_digits, list | tuple):
        raise InputError(f"dataset.unseen_digits must be a list, not {shown(unseen_digits)}")
    digits = [str(digit) for digit in unseen_digits]  # 7 in a config is a number
    for option, labels in (("speakers", unseen_speakers), ("digits", digits)):
        check_texts(f"dataset.unseen_{option}", labels)
    unseen = {"speaker": list(unseen_speakers), "digit": digits}
    first = groups[0]
    other = "digit" if first == "speaker" else "speaker"
    test: dict[str, list] = {"take": list(TEST_TAKES)}
    if unseen[other]:
        test = {other: unseen[other]}
    return recordings(
        _found(root),
        pattern=PATTERN,
        group=group,
        factors=[name for name in ("digit", "speaker") if name not in groups],
        frames=frames,
        level=level,
        validation=validation,
        test=test,
        unseen_groups=unseen[first],
        seed=seed,
    )


def _found(root: str | Path) -> Path:
    """The first place below ``root`` that exists, or ``root`` itself."""
    path = as_path("dataset.root", root)
    return next((path / place for place in PLACES if (path / place).exists()), path)


def _form(
    features: str,
    seconds: float | None,
    frames: int | None,
    level: str,
    bands: int,
    window: float,
    hop: float,
    low: float,
    high: float | None,
) -> Form:
    """The checked options of the observations' form."""
    check_choice("dataset.features", features, FEATURES)
    check_choice("dataset.level", level, LEVELS)
    if seconds is not None:
        check_number("dataset.seconds", seconds, minimum=0, maximum=MOST_SECONDS, exclusive=True)
    if frames is not None:
        check_integer("dataset.frames", frames, minimum=1)
        check_number("dataset.frames", frames, minimum=1, maximum=MOST_FRAMES)
        frames = int(frames)
        if features == "wave":
            raise InputError("dataset.frames needs dataset.features=logmel, not wave")
    options = {"bands": bands, "window": window, "hop": hop, "low": low, "high": high}
    return Form(features, seconds, frames, level, cache(partial(LogMel, **options)))


def _labels(found: Recordings, group: str) -> np.ndarray:
    """The label of each recording's group: a field, or fields joined by +."""
    columns = [found.fields[name] for name in _names(found, group)]
    return joined_labels(f"dataset.group={group}", columns)


def _groupings(found: Recordings, group: Sequence[str]) -> dict[str, np.ndarray]:
    """The labels of several groupings by the field; an empty text is a missing label."""
    return {
        name: np.array([one or None for one in found.fields[name].tolist()], object)
        for name in _names(found, group)
    }


def _names(found: Recordings, group: str | Sequence[str]) -> list[str]:
    """The fields that ``group`` joins or lists."""
    if isinstance(group, str):
        check_text("dataset.group", group)
        names = group.split("+")
    else:
        check_texts("dataset.group", group)
        names = list(group)
    if not names:
        raise InputError(f"dataset.group must have at least one field, not {shown(group)}")
    for name in names:
        check_choice("dataset.group", name, list(found.fields))
        if names.count(name) > 1:
            raise InputError(f"dataset.group must name each field once, not {shown(name)} twice")
    return names


def _factors(
    found: Recordings, group: str | Sequence[str], factors: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """The known factors by name, float64 (N,)."""
    if factors is None:
        others = [name for name in found.fields if name not in _names(found, group)]
        return {name: found.fields[name].astype(float) for name in others if _numbers(found, name)}
    check_texts("dataset.factors", factors)
    columns = {}
    for name in factors:
        check_choice("dataset.factors", name, list(found.fields))
        texts = found.fields[name]
        if _numbers(found, name):
            columns[name] = texts.astype(float)
            continue
        words, columns[name] = np.unique(texts, return_inverse=True)
        numbered = ", ".join(f"{i} {word}" for i, word in enumerate(words[:20].tolist()))
        print(f"factor {name}: {numbered}{', ...' if len(words) > 20 else ''}", flush=True)
    return columns


def _numbers(found: Recordings, name: str) -> bool:
    """Whether all values of a field are finite numbers."""
    try:
        return bool(np.isfinite(found.fields[name].astype(float)).all())
    except ValueError:
        return False
