"""The fingerprint of grouped data, by which a resumed training recognises its data."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mlvae.groups import Groups

__all__ = ["fingerprint"]


def fingerprint(
    x: Tensor | None,
    groups: Groups,
    group_names: Sequence[object],
    given: Mapping[str, Tensor],
    further: Mapping[str, tuple[Groups, Sequence[object]]] | None = None,
) -> dict[str, object]:
    """CRC-32 checksums of the groups, the labels and all values that are in memory.

    Args:
        x: observations (N, ...), or None where they are on the disk.
        groups: the group of each observation.
        group_names: label of each group.
        given: known values of the observations (N, ...) by name.
        further: groups and their labels of further groupings, by name.
    """
    sizes = groups.sizes.cpu().numpy()
    names = "\0".join(map(str, group_names))
    some = zlib.crc32(sizes.tobytes(), zlib.crc32(names.encode()))
    if x is not None:  # the same 64 rows as in earlier versions, so that older runs can be resumed
        for row in torch.linspace(0, len(x) - 1, 64, dtype=torch.float64).long():
            some = zlib.crc32(x[row].cpu().numpy().tobytes(), some)
    return {
        "observations": groups.num_observations,
        "groups": len(sizes),
        "checksum": some,
        "labels": _checksum(groups.index),
        "given": {name: _checksum(values) for name, values in sorted(given.items())},
        **({} if x is None else {"x": _checksum(x)}),
        **({"groupings": {n: _grouping(*each) for n, each in further.items()}} if further else {}),
    }


def _grouping(groups: Groups, names: Sequence[object]) -> list[int]:
    """Checksums of the groups and of their labels."""
    return [_checksum(groups.index), zlib.crc32("\0".join(map(str, names)).encode())]


def _checksum(values: Tensor) -> int:
    """CRC-32 of all elements."""
    total = 0
    for part in values.split(max(1, 2**24 // max(1, values[:1].numel()))):
        total = zlib.crc32(part.flatten().cpu().view(torch.uint8).numpy().tobytes(), total)
    return total
