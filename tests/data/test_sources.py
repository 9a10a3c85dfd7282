"""Folders and archives: the same files however they are packed, and nothing unsafe among them."""

import io
import os
import stat
import tarfile
import zipfile

import pytest

from mlvae.data import archives, members
from mlvae.data.collections.members import Member, Refusal
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
    """An archive of (name, content, type) as tarfile would never write it."""
    with tarfile.open(path, mode) as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return path


# Properties


@pytest.mark.parametrize("name", ["people", "p.zip", "p.tar", "p.tar.gz", "p.tar.xz"])
def test_however_files_are_packed_they_are_the_same(write, name):
    source = open_source(write(name, FILES))
    assert read(source) == (FILES, {})
    assert read(source) == (FILES, {})  # and again


def test_an_archive_is_known_by_its_content_and_not_by_its_name(write, tmp_path):
    path = write("p.tar.gz", FILES).rename(tmp_path / "people.zip")
    assert read(open_source(path))[0] == FILES


@pytest.mark.parametrize("name", ["people", "p.zip", "p.tar.gz"])
def test_the_fingerprint_changes_with_the_files_and_only_then(write, name):
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
    assert refused["a_loop"] == refused["ann/up"] == "is a link to a folder that is read already"
    assert refused["broken"].startswith("is a broken link (No such file")
    assert refused["itself"].startswith("is a broken link (Too many levels")


def test_pipes_are_never_opened(write):
    root = write("people", FILES)
    os.mkfifo(root / "pipe")  # to open it would be to wait forever
    assert read(open_source(root)) == (FILES, {"pipe": "is not a regular file"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(write):
    root = write("people", FILES)
    (root / "bob").chmod(0)
    contents, refused = read(open_source(root))
    (root / "bob").chmod(stat.S_IRWXU)
    assert "bob/3.png" not in contents and refused["bob"] == "cannot be read (Permission denied)"


def test_names_are_made_printable(write):
    root = write("people", {"a\nb/\x1b[31m.png": b"1"})
    (root / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"2")
    names = set(read(open_source(root))[0])
    assert names == {r"a\nb/\x1b[31m.png", r"\udcff\udcfe.png"}


def test_the_cache_is_no_part_of_the_collection(write):
    root = write("people", FILES | {"cache/x/images.u8": b"pixels"})
    assert read(open_source(root, without=root / "cache"))[0] == FILES


# Archives

UNSAFE = {
    "../up.png": "has a path that leaves the archive",
    "ann/../../up.png": "has a path that leaves the archive",
    "..\\up.png": "has a path that leaves the archive",
    "/etc/cron.d/x.png": "has an absolute path",
    "C:\\windows\\x.png": "has an absolute path",
}


def test_unsafe_paths_are_refused_by_name(tmp_path):
    tar(tmp_path / "p.tar.gz", *((name, b"x", tarfile.REGTYPE) for name in UNSAFE))
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in UNSAFE:
            archive.writestr(name, b"x")
    for name in ("p.tar.gz", "p.zip"):
        contents, refused = read(open_source(tmp_path / name))
        assert not contents
        assert set(refused.values()) == set(UNSAFE.values()) and len(refused) == len(UNSAFE)


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
    assert refused["soft"] == refused["hard"] == "is a link, which are not followed in an archive"
    assert refused["device"] == refused["pipe"] == "is not a regular file"


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
    assert refused["link"] == "is a link, which are not followed in an archive"
    assert refused["secret"] == "is encrypted"


@pytest.mark.parametrize("name", ["p.tar", "p.tar.gz", "p.tar.xz"])
def test_what_comes_before_the_damage_is_read(write, name):
    path = write(name, {f"{i}.bin": os.urandom(20_000) for i in range(10)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    names, damage = [], None
    for member in open_source(path).members():
        if isinstance(member, Refusal):
            damage = member
        else:
            names.append(member.name)
    assert names[:3] == ["0.bin", "1.bin", "2.bin"] and len(names) < 10
    assert damage.name == name and "is damaged after" in damage.reason


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
    assert "as a bomb does" in refused[name]


def read_lazily(source):
    names, refused = [], {}
    for member in source.members():
        if isinstance(member, Refusal):
            refused[member.name] = member.reason
        else:
            names.append(member.name)
    return names, refused


@pytest.mark.parametrize("name", ["people", "p.zip", "p.tar.gz"])
def test_no_file_larger_than_a_photograph_is_read(write, monkeypatch, name):
    monkeypatch.setattr(members, "MAX_FILE", 1000)
    contents, refused = read(open_source(write(name, FILES)))
    assert "bob/3.png" not in contents
    assert refused["bob/3.png"] == "has 6,000 bytes, more than the 1,000 of a photo"


@pytest.mark.parametrize("name", ["people", "p.zip", "p.tar.gz"])
def test_a_name_longer_than_any_is_not_kept(write, name):
    long = "/".join(["folder" * 10] * 10) + "/1.png"
    contents, refused = read(open_source(write(name, FILES | {long: b"x"})))
    assert contents == FILES
    assert refused == {f"{long[:60]}...": "has a path of 615 characters"}


def test_a_header_may_not_fill_the_memory(tmp_path, monkeypatch):
    # An extended header that claims to be large would be read at once.
    monkeypatch.setattr(members, "MAX_FILE", 10_000)
    info = tarfile.TarInfo("x" * 20_000)
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("good"))
        archive.addfile(info)
    contents, refused = read(open_source(tmp_path / "p.tar"))
    assert contents == {"good": b""}
    assert "a header of" in refused["p.tar"]


# Bad input


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.zip", b"PK\x03\x04 and no more", "must be a whole archive: File is not a zip file"),
        ("p.tar.gz", b"\x1f\x8b and no more", "must be a whole archive: "),
        ("p.tar.xz", b"\xfd7zXZ\0 and no more", "must be a whole archive: "),
        ("p.tar", b"", "must be a whole archive: "),
        ("p.rar", b"Rar!", "must be a folder, a .zip, .tar, .tar.gz or .tar.xz archive, or a"),
    ],
)
def test_what_cannot_be_read_at_all_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"dataset.root=.*{name} {message}") as error:
        open_source(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_root_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match="none must be a folder, an archive or a table: No such"):
        open_source(tmp_path / "none")
