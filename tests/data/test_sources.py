"""Folders and archives: the same files in every format, and no unsafe ones."""

import io
import os
import stat
import tarfile
import zipfile

import pytest

from mlvae.data.collections import archives, members
from mlvae.data.collections.members import Member, Refusal, printable
from mlvae.data.collections.sources import open_source
from mlvae.errors import InputError

FILES = {"ann/1.png": b"first", "ann/2.png": b"second", "bob/3.png": b"third " * 1000}


def read(source):
    """Contents by name, and reasons by name."""
    contents, refused = {}, {}
    for member in source.members():
        if isinstance(member, Member):
            contents[member.name] = member.read()
            assert member.size == len(contents[member.name])
        else:
            refused[member.name] = member.reason
    return contents, refused


def tar(path, *members, mode="w:gz"):
    """An archive of members (name, content, type) that tarfile itself would not write."""
    with tarfile.open(path, mode) as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return path


# Properties


@pytest.mark.parametrize("name", ["people", "p.zip", "p.tar", "p.tar.gz", "p.tar.xz"])
def test_every_format_gives_the_same_files(write, name):
    source = open_source(write(name, FILES))
    assert read(source) == (FILES, {})
    assert read(source) == (FILES, {})  # a second time


def test_the_content_decides_the_kind_of_an_archive(write, tmp_path):
    path = write("p.tar.gz", FILES).rename(tmp_path / "people.zip")
    assert read(open_source(path))[0] == FILES


@pytest.mark.parametrize("name", ["people", "p.zip", "p.tar.gz"])
def test_the_fingerprint_changes_exactly_when_the_files_do(write, name):
    path = write(name, FILES)
    first = list(open_source(path).fingerprint())
    assert list(open_source(path).fingerprint()) == first
    file = path / "ann/1.png" if path.is_dir() else path
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert list(open_source(path).fingerprint()) != first


# Folders


def test_links_are_followed_once_and_loops_end(write, tmp_path):
    root = write("people", FILES)
    elsewhere = write("elsewhere", {"eve/4.png": b"fourth"})
    (root / "a_loop").symlink_to(root)
    (root / "ann" / "up").symlink_to("..")
    (root / "broken").symlink_to("nothing")
    (root / "itself").symlink_to("itself")
    (root / "more").symlink_to(elsewhere)
    (root / "one.png").symlink_to("ann/1.png")
    contents, refused = read(open_source(root))
    linked = {"one.png": b"first", "more/eve/4.png": b"fourth"}
    assert contents == FILES | linked
    assert "link to a folder" in refused["a_loop"] and "link to a folder" in refused["ann/up"]
    assert "link" in refused["broken"] and "No such file" in refused["broken"]
    assert "link" in refused["itself"] and "Too many levels" in refused["itself"]


def test_pipes_are_never_opened(write, time_limit):
    root = write("people", FILES)
    os.mkfifo(root / "pipe")  # opening it would block forever
    with time_limit(10):
        contents, refused = read(open_source(root))
    assert contents == FILES
    assert list(refused) == ["pipe"] and "regular file" in refused["pipe"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_refused_by_name(write):
    root = write("people", FILES)
    (root / "bob").chmod(0)
    contents, refused = read(open_source(root))
    (root / "bob").chmod(stat.S_IRWXU)
    assert "bob/3.png" not in contents and "Permission denied" in refused["bob"]


def test_harmful_characters_in_names_are_escaped(write):
    root = write("people", {"a\nb/\x1b[31m.png": b"1", "c\u202ed.png": b"3"})
    (root / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"2")
    names = set(read(open_source(root))[0])
    assert names == {r"a\nb/\x1b[31m.png", r"\udcff\udcfe.png", r"c\u202ed.png"}


@pytest.mark.parametrize("packed", ["people", "p.zip", "p.tar.gz"])
@pytest.mark.parametrize("space", ["\u3000", "\u202f", "\u00a0", "\u200d", " "])
def test_spaces_of_any_width_stay_in_a_name(write, packed, space):
    name = f"佐藤{space}花子/1.png"
    assert read(open_source(write(packed, {name: b"1"})))[0] == {name: b"1"}


@pytest.mark.parametrize("packed", ["people", "p.zip", "p.tar.gz"])
def test_a_decomposed_accent_is_composed(write, packed):
    source = open_source(write(packed, {"Jose\u0301/1.png": b"1"}))
    assert read(source)[0] == {"Jos\u00e9/1.png": b"1"}


def test_the_cache_is_left_out_of_the_collection(write):
    root = write("people", FILES | {"cache/x/images.u8": b"pixels"})
    assert read(open_source(root, without=root / "cache"))[0] == FILES


# Archives

#: Unsafe paths and a word of the reason.
UNSAFE = {
    "../up.png": "leaves",
    "ann/../../up.png": "leaves",
    "..\\up.png": "leaves",
    "/etc/cron.d/x.png": "absolute",
    "C:\\windows\\x.png": "absolute",
}


def test_unsafe_paths_are_refused_by_name(tmp_path):
    tar(tmp_path / "p.tar.gz", *((name, b"x", tarfile.REGTYPE) for name in UNSAFE))
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in UNSAFE:
            archive.writestr(name, b"x")
    for name in ("p.tar.gz", "p.zip"):
        contents, refused = read(open_source(tmp_path / name))
        assert not contents
        assert len(refused) == len(UNSAFE)
        for path, word in UNSAFE.items():
            assert word in refused[printable(path)]


def test_links_and_devices_in_a_tar_are_refused(tmp_path):
    kinds = {
        "soft": tarfile.SYMTYPE,
        "hard": tarfile.LNKTYPE,
        "device": tarfile.CHRTYPE,
        "pipe": tarfile.FIFOTYPE,
    }
    members = [(name, b"", kind) for name, kind in kinds.items()]
    path = tar(tmp_path / "p.tar.gz", *members, ("good", b"x", tarfile.REGTYPE))
    contents, refused = read(open_source(path))
    assert contents == {"good": b"x"}
    assert "link" in refused["soft"] and "link" in refused["hard"]
    assert "regular file" in refused["device"] and "regular file" in refused["pipe"]


def test_links_and_encrypted_files_in_a_zip_are_refused(tmp_path):
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("secret", b"x")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flag of encryption, in the directory
    path.write_bytes(content)
    refused = read(open_source(path))[1]
    assert "link" in refused["link"] and "encrypted" in refused["secret"]


@pytest.mark.parametrize("name", ["p.tar", "p.tar.gz", "p.tar.xz"])
def test_files_before_the_damage_are_read(write, name):
    path = write(name, {f"{i}.bin": os.urandom(20_000) for i in range(10)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    names, damage = [], None
    for member in open_source(path).members():
        if isinstance(member, Refusal):
            damage = member
        else:
            names.append(member.name)
    assert names[:3] == ["0.bin", "1.bin", "2.bin"] and len(names) < 10
    assert damage.name == name and f"damaged after {len(names)} " in damage.reason


@pytest.mark.parametrize("kept", [2, 3])
def test_a_tar_that_is_cut_between_two_files_is_damaged(write, kept):
    # Each file has a block for its header and a block for its content.
    path = write("p.tar", {f"{i}.bin": b"x" for i in range(4)})
    path.write_bytes(path.read_bytes()[: kept * 1024])
    contents, refused = read(open_source(path))
    assert list(contents) == [f"{i}.bin" for i in range(kept)]
    assert f"damaged after {kept} " in refused["p.tar"]


@pytest.mark.parametrize("name", ["p.zip", "p.tar.gz"])
def test_bombs_are_not_unpacked(write, monkeypatch, tmp_path, name):
    monkeypatch.setattr(archives, "BOMB_SIZE", 2**20)
    if name == "p.zip":
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros", bytes(2**23))
    else:
        write(name, {"zeros": bytes(2**23), "more": b"x"})
    contents, refused = read_lazily(open_source(tmp_path / name))
    assert "more" not in contents
    assert "bomb" in refused[name]


def read_lazily(source):
    names, refused = [], {}
    for member in source.members():
        if isinstance(member, Refusal):
            refused[member.name] = member.reason
        else:
            names.append(member.name)
    return names, refused


@pytest.mark.parametrize("name", ["people", "p.zip", "p.tar.gz"])
def test_a_file_beyond_the_limit_is_not_read(write, monkeypatch, name):
    monkeypatch.setattr(members, "MAX_FILE", 1000)
    contents, refused = read(open_source(write(name, FILES)))
    assert "bob/3.png" not in contents
    assert "6,000" in refused["bob/3.png"] and "1,000" in refused["bob/3.png"]


@pytest.mark.parametrize("name", ["people", "p.zip", "p.tar.gz"])
def test_a_name_beyond_the_limit_is_cut(write, name):
    long = "/".join(["folder" * 10] * 10) + "/1.png"
    contents, refused = read(open_source(write(name, FILES | {long: b"x"})))
    assert contents == FILES
    assert list(refused) == [f"{long[:60]}..."] and "615" in refused[f"{long[:60]}..."]


def test_a_header_cannot_fill_the_memory(tmp_path, monkeypatch):
    # tarfile reads an extended header at once, whatever size it claims.
    monkeypatch.setattr(archives, "MAX_HEADER", 10_000)
    info = tarfile.TarInfo("x" * 20_000)
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("good"))
        archive.addfile(info)
    contents, refused = read(open_source(tmp_path / "p.tar"))
    assert contents == {"good": b""}
    assert "header" in refused["p.tar"]


# Bad input


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.zip", b"PK\x03\x04 and no more", "archive: .*not a zip file"),
        ("p.tar.gz", b"\x1f\x8b and no more", "archive: "),
        ("p.tar.xz", b"\xfd7zXZ\0 and no more", "archive: "),
        ("p.tar", b"", "archive: "),
        ("p.rar", b"Rar!", r"\.zip, \.tar, \.tar\.gz or \.tar\.xz "),
    ],
)
def test_a_root_that_cannot_be_read_gives_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"dataset\.root=.*{name} .*{words}") as error:
        open_source(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_missing_root_gives_one_line(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.root=.*none .*No such"):
        open_source(tmp_path / "none")
