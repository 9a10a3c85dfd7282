"""A folder of recordings as observations of one shape, with the fields of their paths.

Shapes: N recordings, M mel bands, T frames, L samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from mlvae.data.collections.members import Member, first_line, is_system_part, printable
from mlvae.data.collections.sources import open_source
from mlvae.data.signals.path_pattern import PathPattern
from mlvae.data.signals.spectrogram import LogMel
from mlvae.data.signals.wave import Sound, read_wave, resampled
from mlvae.errors import InputError

__all__ = ["Form", "Recordings", "read_recordings"]

#: Root mean square of all sounds with level="rms": -20 dB of full scale.
LEVEL = 0.1


@dataclass(frozen=True)
class Form:
    """The form to which recordings are brought; see :func:`mlvae.data.recordings`.

    Attributes:
        features: "logmel" or "wave".
        seconds: length of the window of each recording; None: the whole recording.
        frames: number of equal pieces of time over which spectrograms are averaged; None: all.
        level: "keep", or "rms" for one root mean square of all.
        transform: makes the spectrogram for a sample rate.
    """

    features: str
    seconds: float | None
    frames: int | None
    level: str
    transform: Callable[[int], LogMel]


@dataclass
class Recordings:
    """Recordings of one shape.

    Attributes:
        x: spectrograms (N, M, T), or waves (N, 1, L), float32.
        names: path of each file, length N.
        fields: texts of each field of the paths by name, (N,) each.
        remarks: what was changed, in one line each.
    """

    x: np.ndarray
    names: list[str]
    fields: dict[str, np.ndarray]
    remarks: list[str] = field(default_factory=list)


def read_recordings(
    root: Path, pattern: PathPattern, form: Form, *, rate: int | None, skip: bool
) -> Recordings:
    """Read all ``.wav`` files below a folder, or in an archive, in the order of their names.

    Args:
        root: the folder, or a ``.zip`` or ``.tar`` archive.
        pattern: pattern of the paths below ``root``.
        form: form of the observations.
        rate: sample rate to which recordings are brought; None: all must have one.
        skip: whether files that cannot be used are left out and named, or are an error.

    Raises:
        InputError: if there is no usable recording, or the recordings have several rates or
            lengths.
    """
    found: dict[str, tuple[np.ndarray, dict[str, str]]] = {}
    problems: dict[str, str] = {}
    wrong: InputError | None = None
    counts: Counter[str] = Counter()
    rates: Counter[int] = Counter()
    for name, content in _waves(root, counts):
        fields = pattern.match(name)
        if isinstance(content, str) or fields is None:
            problems[name] = (
                content if isinstance(content, str) else f"does not match {pattern.pattern!r}"
            )
            continue
        try:
            sound = read_wave(content)
            rates[sound.rate] += 1
            found[name] = _observation(sound, form, rate, counts), fields
        except ValueError as error:
            problems[name] = str(error)
            wrong = wrong or (error if isinstance(error, InputError) else None)
    if wrong is not None and not found:  # an option that no file can have
        raise wrong
    where = printable(str(root))
    _check_problems(where, problems, len(found), skip)
    if rate is None and len(rates) > 1:
        listed = ", ".join(f"{count:,} at {each:,} Hz" for each, count in rates.most_common())
        raise InputError(
            f"recordings in {where} must have one sample rate, not {listed}; set "
            f"dataset.rate={min(rates)} to resample them"
        )
    names = sorted(found)
    _check_lengths(where, [found[name][0].shape[1] for name in names], form)
    remarks = _remarks(problems, counts, rates, rate, form)
    return Recordings(
        x=np.stack([found[name][0] for name in names]),
        names=names,
        fields={each: np.array([found[n][1][each] for n in names]) for each in pattern.fields},
        remarks=[f"{where}: {remark}" for remark in remarks],
    )


def _waves(root: Path, counts: Counter[str]) -> Iterator[tuple[str, bytes | str]]:
    """Path and content of each ``.wav`` file, or the reason why it cannot be read."""
    for item in open_source(root).members():
        if any(is_system_part(part) for part in item.name.split("/")):
            continue
        if not item.name.lower().endswith(".wav"):
            if not isinstance(item, Member):  # a damaged archive, a folder that cannot be read
                yield item.name, item.reason
            counts["other"] += 1
            continue
        if not isinstance(item, Member):
            yield item.name, item.reason
            continue
        try:
            yield item.real, item.read()
        except Exception as error:  # files change, and archives lie, in many ways
            yield item.real, f"cannot be read ({first_line(error)})"


def _observation(sound: Sound, form: Form, rate: int | None, counts: Counter[str]) -> np.ndarray:
    """One recording in its form, float32 (M, T) or (1, L); ValueError if it cannot be used."""
    counts["several channels"] += sound.channels > 1
    samples, rate = resampled(sound.samples, sound.rate, rate or sound.rate), rate or sound.rate
    if len(samples) == 0 or not samples.any():
        raise ValueError("is silent" if len(samples) else "has no samples")
    if form.level == "rms":
        samples = samples * (LEVEL / np.sqrt(np.mean(samples**2)))
    transform = form.transform(rate) if form.features == "logmel" else None
    least = 1 if transform is None else transform.length
    if len(samples) < least:
        raise ValueError(
            f"has {len(samples) / rate:.3g} s, less than dataset.window={least / rate:g}"
        )
    if form.seconds is not None:
        length = round(form.seconds * rate)
        counts["longer"] += len(samples) > length
        counts["shorter"] += len(samples) < length
        samples = _windowed(samples, length)
    if transform is None:
        return samples[None].astype(np.float32)
    spectrogram = transform(samples)
    if form.frames is None:
        return spectrogram
    pieces = functional.adaptive_avg_pool1d(torch.from_numpy(spectrogram), form.frames)
    return pieces.numpy()


def _windowed(samples: np.ndarray, length: int) -> np.ndarray:
    """The middle of a sound, or the sound with silence at both ends."""
    if len(samples) >= length:
        start = (len(samples) - length) // 2
        return samples[start : start + length]
    missing = length - len(samples)
    return np.pad(samples, (missing // 2, missing - missing // 2))


def _check_problems(where: str, problems: dict[str, str], usable: int, skip: bool) -> None:
    if usable and (skip or not problems):
        return
    if not problems:
        raise InputError(
            f"dataset.root={where} has no .wav files; convert others, for example by ffmpeg"
        )
    name, reason = next(iter(problems.items()))
    advice = "" if not usable else "; mend it, or set dataset.skip=true to leave such files out"
    raise InputError(
        f"{len(problems):,} of {usable + len(problems):,} .wav files in {where} cannot be used: "
        f"{printable(name)} {reason}{advice}"
    )


def _check_lengths(where: str, lengths: list[int], form: Form) -> None:
    if len(set(lengths)) == 1:
        return
    unit = "frames" if form.features == "logmel" else "samples"
    pieces = ", or dataset.frames for spectrograms of a fixed number of frames"
    raise InputError(
        f"recordings in {where} must have one length, not {min(lengths):,} to {max(lengths):,} "
        f"{unit}; set dataset.seconds to cut and pad them{pieces if unit == 'frames' else ''}"
    )


def _remarks(
    problems: dict[str, str],
    counts: Counter[str],
    rates: Counter[int],
    rate: int | None,
    form: Form,
) -> list[str]:
    """What was left out or changed, one line each."""
    total = sum(rates.values())
    changed = sum(count for each, count in rates.items() if rate is not None and each != rate)
    several, longer, shorter = counts["several channels"], counts["longer"], counts["shorter"]
    left_out = "; ".join(f"{printable(n)} {why}" for n, why in list(problems.items())[:5])
    texts = {
        f"{len(problems):,} files are left out: {left_out}": len(problems),
        f"{counts['other']:,} files that are no .wav are ignored": counts["other"],
        f"{changed:,} of {total:,} recordings are resampled to {rate} Hz": changed,
        f"{several:,} of {total:,} recordings have several channels, which are averaged": several,
        f"{longer:,} of {total:,} recordings are cut to their middle {form.seconds:g} s"
        if form.seconds
        else "": longer,
        f"{shorter:,} of {total:,} recordings are padded with silence to {form.seconds:g} s"
        if form.seconds
        else "": shorter,
    }
    return [text for text, count in texts.items() if count]
