"""Decompression in bounded pieces gives the bytes of the standard library."""

import bz2
import io
import lzma
import zlib

import numpy as np
import pytest

from mlvae.data.collections.unpack import Inflate, Unpacked

PACKINGS = {
    "gz": (lambda content: zlib.compress(content, wbits=31), lambda: Inflate(31)),
    "bz2": (bz2.compress, bz2.BZ2Decompressor),
    "xz": (lzma.compress, lzma.LZMADecompressor),
}


def mixed(size):
    """Bytes of which some parts compress well and others do not."""
    generator = np.random.default_rng(size)
    noise = generator.integers(0, 256, size // 2, dtype=np.uint8).tobytes()
    return b"".join(noise[i : i + 5000] + bytes(5000) for i in range(0, len(noise), 5000))


@pytest.mark.parametrize("kind", PACKINGS)
@pytest.mark.parametrize("step", [1, 512, 1000, 65_536, 10**7])
@pytest.mark.parametrize("size", [10, 150_000, 600_000])
def test_pieces_of_any_size_are_the_whole_content(kind, step, size):
    pack, new = PACKINGS[kind]
    content = mixed(size)
    stream = Unpacked(io.BytesIO(pack(content)), new, 10**8)
    pieces = []
    while piece := stream.read(step):
        pieces.append(piece)
    assert b"".join(pieces) == content


@pytest.mark.parametrize("kind", PACKINGS)
def test_a_stream_that_is_cut_off_is_an_error(kind):
    pack, new = PACKINGS[kind]
    packed = pack(mixed(200_000))
    stream = Unpacked(io.BytesIO(packed[: len(packed) // 2]), new, 10**8)
    with pytest.raises(EOFError):
        while stream.read(1000):
            pass
