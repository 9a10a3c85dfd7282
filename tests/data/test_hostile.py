"""Archives that lie about sizes, special files, harmful names: bounded memory and time."""

import bz2
import gzip
import io
import json
import lzma
import os
import socket
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import unicodedata
import zipfile
import zlib
from functools import cache, partial

import pytest

from mlvae.data import arrays, faces
from mlvae.data.collections import archives, journal, unpack
from mlvae.data.collections.columns import Columns
from mlvae.data.collections.members import Member, Refusal, escaped, printable
from mlvae.data.collections.sources import open_source
from mlvae.errors import InputError

MEGABYTE = 2**20
SMALL = {"size": 8, "colour": False, "workers": 0, "validation": 0, "test": 0}


def outcomes(path):
    """Contents by name, and reasons by name, of all files that a source has."""
    contents, refused = {}, {}
    for member in open_source(path).members():
        if isinstance(member, Refusal):
            refused[member.name] = member.reason
            continue
        try:
            contents[member.name] = member.read()
        except Exception as error:
            refused[member.name] = str(error)
    return contents, refused


@pytest.fixture
def bounded(time_limit):
    """Outcomes of a source, found within seconds and a bounded memory."""

    def run(path, seconds=20, megabytes=200):
        tracemalloc.start()
        try:
            with time_limit(seconds):
                found = outcomes(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < megabytes * MEGABYTE
        return found

    return run


@cache
def zeros(method, megabytes):
    """Zeros, compressed as a member of a zip."""
    packers = {
        zipfile.ZIP_DEFLATED: lambda: zlib.compressobj(9, zlib.DEFLATED, -15),
        zipfile.ZIP_BZIP2: bz2.BZ2Compressor,
    }
    packer = packers[method]()
    return b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(megabytes)) + packer.flush()


def zip_that_claims(path, packed, method, size, names=("a.png",)):
    """A zip of members with these compressed bytes, which claim to be ``size`` bytes."""
    local, directory = bytearray(), bytearray()
    for name in names:
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, method, 0, 0, 0, len(packed), size, len(name),
            0, 0, 0, 0, 0, len(local),
        ) + name.encode()  # fmt: skip
        local += struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, 0, method, 0, 0, 0, len(packed), size, len(name), 0
        )
        local += name.encode() + packed
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(names), len(names), len(directory),
                      len(local), 0)  # fmt: skip
    path.write_bytes(local + directory + end)
    return path


# Archives that lie about sizes


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("size", [10, 50_000_000])
def test_a_zip_is_read_only_to_the_sizes_that_it_claims(bounded, tmp_path, method, size):
    packed = zeros(method, 600)
    path = zip_that_claims(tmp_path / "p.zip", packed, method, size, ["a.png", "b.png"])
    contents, refused = bounded(path)
    assert not contents and f"{size:,}" in refused["a.png"] and f"{size:,}" in refused["b.png"]


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_every_compression_of_a_zip_is_read(tmp_path, method):
    content = os.urandom(5000) + bytes(3 * MEGABYTE)
    with zipfile.ZipFile(tmp_path / "p.zip", "w", method) as archive:
        archive.writestr("ann/1.png", content)
        archive.writestr("ann/empty.png", b"")
    assert outcomes(tmp_path / "p.zip") == ({"ann/1.png": content, "ann/empty.png": b""}, {})


def test_a_zip_member_with_a_wrong_checksum_or_too_few_bytes_is_refused(tmp_path):
    path = zip_that_claims(
        tmp_path / "p.zip", zlib.compress(b"abc", wbits=-15), zipfile.ZIP_DEFLATED, 3
    )
    assert "checksum" in outcomes(path)[1]["a.png"]
    zip_that_claims(path, zlib.compress(b"abc", wbits=-15), zipfile.ZIP_DEFLATED, 4)
    assert list(outcomes(path)[1]) == ["a.png"]


def test_an_lzma_member_cannot_ask_for_much_memory(bounded, tmp_path):
    properties = struct.pack("<HHBL", 0x0409, 5, 93, 2**32 - 1)
    path = zip_that_claims(tmp_path / "p.zip", properties + bytes(100), zipfile.ZIP_LZMA, 1000)
    contents, refused = bounded(path)
    assert not contents and "memory" in refused["a.png"]


@pytest.mark.parametrize("kind", ["entries", "bytes"])
def test_the_directory_of_a_zip_has_a_limit(monkeypatch, tmp_path, kind):
    path = zip_that_claims(tmp_path / "p.zip", b"", 0, 0, [f"{i}" for i in range(100)])
    assert len(open_source(path)) == 100
    limit = {"entries": ("MAX_ENTRIES", 99), "bytes": ("MAX_DIRECTORY", 1000)}[kind]
    monkeypatch.setattr(archives, *limit)
    with pytest.raises(InputError, match=r"dataset\.root=.*p\.zip .*(100|4,\d+).*(99|1,000)"):
        open_source(path)


def header(name, kind, size=0, **fields):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def packed_tar(path, *pieces):
    """A compressed tar of the pieces; a piece may be (bytes, times).

    A piece of a megabyte is a compressed stream, so that it is compressed once.
    """
    with path.open("wb") as file:
        for piece in pieces:
            content, times = piece if isinstance(piece, tuple) else (piece, 1)
            once = len(content) >= MEGABYTE
            packed = gzip.compress(content if once else content * times)
            file.write(packed * times if once else packed)
    return path


GOOD = header("good.png", tarfile.REGTYPE, 4) + b"good" + bytes(508)
HALF_GIGABYTE = 500 * MEGABYTE


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]
)
def test_a_long_header_of_a_tar_is_refused_before_it_is_read(bounded, tmp_path, kind):
    path = packed_tar(
        tmp_path / "p.tar.gz", GOOD, header("x", kind, HALF_GIGABYTE), (bytes(MEGABYTE), 500), GOOD
    )
    contents, refused = bounded(path, megabytes=20)
    assert contents == {"good.png": b"good"}
    assert "header" in refused["p.tar.gz"] and f"{HALF_GIGABYTE:,}" in refused["p.tar.gz"]


def test_many_headers_for_one_entry_are_refused(bounded, tmp_path):
    name = header("x", tarfile.GNUTYPE_LONGNAME, 512) + b"a" * 512
    path = packed_tar(tmp_path / "p.tar.gz", GOOD, (name, 200_000), GOOD)
    contents, refused = bounded(path, megabytes=20)
    assert list(contents) == ["good.png"] and "headers" in refused["p.tar.gz"]


def test_the_map_of_a_sparse_file_has_a_limit(bounded, tmp_path):
    sparse = bytearray(header("x", tarfile.GNUTYPE_SPARSE))
    sparse[482] = 1  # the map goes on in further blocks
    sparse[148:156] = b" " * 8
    sparse[148:156] = b"%06o\0 " % sum(sparse)
    block = (b"%011o\0" % 512) * 42 + b"\1" + bytes(7)
    path = packed_tar(tmp_path / "p.tar.gz", GOOD, bytes(sparse), (block * 2048, 400), GOOD)
    contents, refused = bounded(path, megabytes=20)
    assert list(contents) == ["good.png"] and "sparse" in refused["p.tar.gz"]


def test_a_short_map_of_a_sparse_file_is_skipped(tmp_path):
    sparse = bytearray(header("x", tarfile.GNUTYPE_SPARSE, 4))
    sparse[482] = 1
    sparse[148:156] = b" " * 8
    sparse[148:156] = b"%06o\0 " % sum(sparse)
    path = packed_tar(
        tmp_path / "p.tar.gz", bytes(sparse), bytes(512), b"data" + bytes(508), GOOD, bytes(1024)
    )
    assert outcomes(path) == ({"good.png": b"good"}, {"x": "is not a regular file"})


def fields(*pairs):
    """The content of an extended header."""
    text = b""
    for key, value in pairs:
        rest = f" {key}={value}\n".encode()
        length = len(rest) + len(str(len(rest)))
        length = len(rest) + len(str(length))
        text += str(length).encode() + rest
    return text


def extended(kind, content):
    return header("x", kind, len(content)) + content + bytes(-len(content) % 512)


@pytest.mark.parametrize(
    "content",
    [b"9" * 900_000, b"2 " * 450_000, b"6 a=b\n" * 150_000],
    ids=["digits", "lengths", "fields"],
)
def test_an_extended_header_takes_little_time(bounded, tmp_path, content):
    path = packed_tar(tmp_path / "p.tar.gz", GOOD, extended(tarfile.XHDTYPE, content), GOOD)
    contents, refused = bounded(path, seconds=5, megabytes=20)
    assert contents == {"good.png": b"good"} and "extended header" in refused["p.tar.gz"]


def test_a_global_header_is_not_copied_to_every_entry(bounded, tmp_path):
    many = fields(*((f"key{i}", "value") for i in range(40_000)))
    path = packed_tar(
        tmp_path / "p.tar.gz", extended(tarfile.XGLTYPE, many), (GOOD, 3000), bytes(1024)
    )
    contents, refused = bounded(path, seconds=10, megabytes=50)
    assert contents == {"good.png": b"good"} and not refused


def test_names_and_sizes_of_extended_headers_are_used(tmp_path):
    long = "ann/" + "x" * 300 + ".png"
    pieces = [
        extended(tarfile.XHDTYPE, fields(("path", "佐藤/1.png"), ("size", "4"), ("mtime", "1.5"))),
        header("short", tarfile.REGTYPE, 0) + b"good" + bytes(508),
        extended(tarfile.GNUTYPE_LONGNAME, long.encode() + b"\0"),
        header("short", tarfile.REGTYPE, 0),
        extended(tarfile.XHDTYPE, fields(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"))),
        header("sparse", tarfile.REGTYPE, 512) + bytes(512),
        extended(tarfile.XGLTYPE, fields(("comment", "of git"))),
        GOOD,
        bytes(1024),
    ]
    contents, refused = outcomes(packed_tar(tmp_path / "p.tar.gz", *pieces))
    assert contents == {"佐藤/1.png": b"good", long: b"", "good.png": b"good"}
    assert refused == {"sparse": "is not a regular file"}


@pytest.mark.parametrize(
    "pack",  # lzma takes seconds without the preset
    [gzip.compress, partial(lzma.compress, preset=0), bz2.compress],
    ids=["gz", "xz", "bz2"],
)
def test_a_tar_that_unpacks_to_gigabytes_is_refused(bounded, monkeypatch, tmp_path, pack):
    monkeypatch.setattr(archives, "BOMB_SIZE", 100 * MEGABYTE)
    tar = GOOD + header("big", tarfile.REGTYPE, HALF_GIGABYTE) + bytes(300 * MEGABYTE)
    (tmp_path / "p.tar.xz").write_bytes(pack(tar))
    del tar
    contents, refused = bounded(tmp_path / "p.tar.xz")
    assert contents == {"good.png": b"good"}
    assert "bomb" in refused["p.tar.xz"] and "104,857,600" in refused["p.tar.xz"]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_streams_one_after_the_other_are_one_tar(tmp_path, pack):
    # Parallel compressors write such files. Zeros may follow.
    (tmp_path / "p.tar.gz").write_bytes(
        pack(GOOD[:700]) + pack(GOOD[700:]) + pack(bytes(1024)) + bytes(64)
    )
    assert outcomes(tmp_path / "p.tar.gz") == ({"good.png": b"good"}, {})


def test_a_tar_may_not_have_countless_entries(bounded, monkeypatch, tmp_path):
    path = packed_tar(tmp_path / "p.tar.gz", (header("x.png", tarfile.REGTYPE), 3000), bytes(1024))
    assert outcomes(path) == ({"x.png": b""}, {})
    monkeypatch.setattr(archives, "MAX_ENTRIES", 2000)
    assert "2,000" in bounded(path)[1]["p.tar.gz"]


def test_unpacking_without_output_has_a_time_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(unpack, "SECONDS", 0.0)
    (tmp_path / "p.tar.gz").write_bytes(gzip.compress(b"") * 1000 + gzip.compress(GOOD))
    with pytest.raises(InputError, match=r"dataset\.root=.*p\.tar\.gz .*0 seconds"):
        open_source(tmp_path / "p.tar.gz")


@pytest.mark.no_cover  # it would take twice as long
def test_a_large_collection_in_an_archive_is_read(time_limit, tmp_path):
    # As many files as CelebA has, in names and headers as tar and zip write them.
    count = 202_599
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for i in range(count):
            archive.writestr(zipfile.ZipInfo(f"img_align_celeba/{i:06}.jpg"), b"x")
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        for i in range(0, count, 10):
            info = tarfile.TarInfo(f"img_align_celeba/{i:06}.jpg")
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    with time_limit(60):
        assert (
            sum(isinstance(m, Member) for m in open_source(tmp_path / "p.zip").members()) == count
        )
        members = list(open_source(tmp_path / "p.tar").members())
    assert len(members) == len(range(0, count, 10))
    assert all(isinstance(member, Member) for member in members)


# Many files that are not used


@pytest.mark.parametrize("packed", ["p.zip", "p.tar"])
def test_beyond_a_thousand_files_of_one_reason_are_counted(
    write, tmp_path, monkeypatch, png, packed
):
    monkeypatch.chdir(tmp_path)
    files = {f"a/{i:05}.png": b"" for i in range(2500)}
    files |= {"b/1.png": png(1), **{f"c/{i:05}.png": b"" for i in range(500)}, "d/2.png": png(2)}
    files |= {f"e/{i}.png": b"no image" for i in range(3)}
    root = write(packed, files)
    splits = faces(root, **SMALL)
    assert splits.train.group_names == ["b", "d"]
    folder = splits.train.x.source.path.parent
    lines = [json.loads(line) for line in (folder / "files.jsonl").read_text().splitlines()[1:]]
    assert len(lines) < 1020 and sum(map(journal.num_files, lines)) == len(files)
    report = (folder / "skipped.txt").read_text().splitlines()
    assert report[0] == "2 used, 3003 skipped, 0 left out"
    assert len(report) == 1 + 1000 + 3 + 1
    assert report[-1] == "skipped: 2,000 more files: is empty"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["skipped"] == 3003


def test_counted_files_are_not_counted_again_when_preparation_continues(
    write, tmp_path, monkeypatch, png
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(journal, "MAX_LINES", 10)
    monkeypatch.setattr(journal, "MAX_PENDING", 40)
    files = {f"a/{i:04}.png": b"" for i in range(200)} | {f"b/{i}.png": png(i) for i in range(50)}
    files |= {f"c/{i:04}.png": b"" for i in range(100)}
    root = write("people", files)
    whole = faces(root, **SMALL).train.x.source.path.parent
    expected = (whole / "skipped.txt").read_text()
    lines = (whole / "files.jsonl").read_bytes().splitlines(keepends=True)
    assert "290 more files" in expected.splitlines()[-1]
    for kept in range(1, len(lines), 7):
        (whole / "files.jsonl").write_bytes(b"".join(lines[:kept]))
        (whole / "manifest.json").unlink()
        assert len(faces(root, **SMALL).train) == 50
        text = (whole / "skipped.txt").read_text().splitlines()
        assert text[0] == "50 used, 300 skipped, 0 left out" and "290 more files" in text[-1]


# Special files


def special_files(folder):
    """A pipe, a socket and a device, and links to them."""
    os.mkfifo(folder / "pipe.png")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "socket.png"))
    server.close()
    for name, target in {
        "p": "pipe.png",
        "s": "socket.png",
        "d": "/dev/zero",
        "t": "/dev/tty",
    }.items():
        (folder / f"{name}.png").symlink_to(target)
    return {"pipe.png", "socket.png", "p.png", "s.png", "d.png", "t.png"}


def test_special_files_and_links_to_them_are_named_and_never_opened(
    write, tmp_path, monkeypatch, png, time_limit
):
    monkeypatch.chdir(tmp_path)
    root = write("people", {f"a/{i}.png": png(i) for i in range(2)})
    names = special_files(root / "a")
    with time_limit(20):
        splits = faces(root, **SMALL)
    assert len(splits.train) == 2
    report = splits.train.x.source.path.with_name("skipped.txt").read_text()
    for name in names:
        assert f"skipped: a/{name} is not a regular file" in report


def test_a_file_that_becomes_a_pipe_is_not_opened(write, time_limit):
    root = write("people", {"a/1.png": b"x"})
    (member,) = open_source(root).members()
    (root / "a/1.png").unlink()
    os.mkfifo(root / "a/1.png")
    with time_limit(5), pytest.raises(OSError, match="regular file"):
        member.read()


@pytest.mark.parametrize("option", ["root", "table"])
def test_a_root_or_a_table_that_is_a_pipe_gives_one_line(write, tmp_path, time_limit, option):
    os.mkfifo(tmp_path / "pipe.zip")
    options = {"root": write("people", {"a/1.png": b"x"})} | {option: tmp_path / "pipe.zip"}
    with (
        time_limit(5),
        pytest.raises(InputError, match=rf"dataset\.{option}=.*pipe\.zip .*regular"),
    ):
        faces(cache=tmp_path / "cache", **options, **SMALL)


@pytest.mark.parametrize("option", ["validation", "test"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to a pipe"])
def test_a_list_of_groups_that_is_no_regular_file_gives_one_line(
    write, tmp_path, png, time_limit, option, kind
):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    files = {"pipe": "pipe", "device": "/dev/zero", "folder": "folder", "link to a pipe": "link"}
    root = write("people", {f"{who}/1.png": png(i) for i, who in enumerate("abc")})
    with time_limit(10), pytest.raises(InputError, match=rf"dataset\.{option} .*regular|folder"):
        faces(root, cache=tmp_path / "cache", **SMALL | {option: str(tmp_path / files[kind])})


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_arrays_from_no_regular_file_give_one_line(tmp_path, time_limit, kind):
    os.mkfifo(tmp_path / "pipe.npz")
    path = tmp_path / "pipe.npz" if kind == "pipe" else "/dev/zero"
    with time_limit(10), pytest.raises(InputError, match=r"dataset\.root=.*regular"):
        arrays(path)


@pytest.mark.parametrize(
    "name", ["manifest.json", "index.npz", "images.u8", "files.jsonl", "lock"]
)
def test_a_pipe_in_the_cache_blocks_nothing(write, tmp_path, png, time_limit, name):
    options = {"root": write("people", {"a/1.png": png(1)}), "cache": tmp_path / "cache"} | SMALL
    folder = faces(**options).train.x.source.path.parent
    (folder / name).unlink()
    os.mkfifo(folder / name)
    if name == "lock":
        (folder / "manifest.json").unlink()
        with time_limit(10), pytest.raises(InputError, match=r"dataset\.cache="):
            faces(**options)
        return
    with time_limit(10):
        assert len(faces(**options).train) == 1


# Names

HARMFUL = "\x1b]0;owned\x07\x9b31m\u202e\u2066\u061c\n\r\t\x00\U000e0041"


def assert_inert(text):
    assert all(c == "\n" or c == printable(c) for c in text)
    text.encode()


@pytest.mark.parametrize("packed", ["people", "p.zip", "p.tar"])
def test_harmful_names_are_never_written_raw(write, tmp_path, monkeypatch, png, capfd, packed):
    monkeypatch.chdir(tmp_path)
    who = HARMFUL.replace("\x00", "") + "ann"
    files = {f"{who}/1.png": png(1), f"{who}/{who}.jpg": b"", "bob/2.png": png(2)}
    if packed != "p.zip":  # a zip has UTF-8 or the letters of DOS
        files |= {os.fsdecode(b"\xff\xfeeve/3.png"): png(3), os.fsdecode(b"bob/\xff.png"): b"no"}
    splits = faces(write(packed, files), **SMALL)
    folder = splits.train.x.source.path.parent
    for text in [
        *splits.train.group_names,
        (folder / "skipped.txt").read_text(),
        (folder / "files.jsonl").read_text(),
        capfd.readouterr().out,
    ]:
        assert_inert(text)
    assert any(
        name.endswith("ann") and r"\x1b]0;owned\x07" in name for name in splits.train.group_names
    )
    with pytest.raises(InputError, match=r"dataset\.strict=true") as error:
        faces(write(packed + "2" if packed == "people" else packed, files), strict=True, **SMALL)
    assert_inert(str(error.value))


def test_a_root_and_a_cache_of_harmful_names_are_shown_inert(tmp_path, png, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / os.fsdecode(b"\xff\x1b[31mroot")
    (root / "a").mkdir(parents=True)
    (root / "a/1.png").write_bytes(png(1))
    cache = os.fsdecode(b"\xfe\x1b[2Jcache")
    assert len(faces(root, cache=cache, **SMALL).train) == 1
    (root / "a/1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"dataset\.root=") as empty:
        faces(root, cache=cache, **SMALL)
    with pytest.raises(InputError, match=r"dataset\.root=") as missing:
        faces(root / "none", cache=cache, **SMALL)
    (root / "p.zip").write_bytes(b"PK\3\4")
    with pytest.raises(InputError, match=r"dataset\.root=") as broken:
        faces(root / "p.zip", cache=cache, **SMALL)
    with pytest.raises(InputError, match=r"dataset\.table=") as table:
        faces(root, table=root / "t.csv", cache=cache, **SMALL)
    for text in [str(e.value) for e in (empty, missing, broken, table)] + [capfd.readouterr().out]:
        assert_inert(text)


def test_real_names_are_matched(tmp_path):
    # An escape character is one character for a pattern, and four where it is shown.
    columns = Columns(r"(?P<identity>.{3})/\d\.png")
    assert columns.of("a\x1bb/1.png") == {"identity": r"a\x1bb"}
    assert columns.of(r"a\x1bb/1.png") is None
    assert Columns("(?P<identity>\udcff)/1").of("\udcff/1") == {"identity": r"\udcff"}
    table = tmp_path / "t.csv"
    table.write_text("file,identity\na\x07.png,b\x1b[1m\na\\\\x07.png,c\n")
    columns = Columns(table=table)
    assert columns.of("a\x07.png") == {"identity": r"b\x1b[1m"}
    assert list(columns.missing()) != []


def test_names_that_differ_stay_different_when_they_are_escaped():
    names = ["a\x1b", r"a\x1b", r"a\\x1b", "a\n", r"a\n", "\udcff", r"\udcff", "a\\", "a/b"]
    shown = [escaped(name) for name in names]
    assert len(set(shown)) == len(names) and all(text == printable(text) for text in shown)
    assert escaped("José \\ 佐藤\u3000花子\u200d") == "José \\ 佐藤\u3000花子\u200d"


def test_names_that_a_terminal_cannot_encode_are_prepared(write, png, tmp_path):
    root = write("people", {"a/1.png": png(1)})
    (root / os.fsdecode(b"\xff")).mkdir()
    (root / os.fsdecode(b"\xff") / "2.png").write_bytes(b"")
    code = f"from mlvae.data import faces; faces('people', **{SMALL!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout.decode()


def test_files_have_the_same_order_with_composed_and_decomposed_accents(write):
    # A run that is moved between macOS and Linux must find the same observations.
    names = ["Jos\u00e9/1.png", "Josz/1.png", "Jos\u00e9/a\u00e9.png", "Jos\u00e9/az.png"]
    composed = write("composed", dict.fromkeys(names, b"x"))
    decomposed = write("decomposed", {unicodedata.normalize("NFD", name): b"x" for name in names})
    orders = [[m.name for m in open_source(root).members()] for root in (composed, decomposed)]
    assert orders[0] == orders[1] and set(orders[0]) == set(names)
