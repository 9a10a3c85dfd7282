"""Collections of images: plain folders, hostile files, joined roots, real data."""

import importlib
import io
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import mlvae
from mlvae.data import celeba, faces, lfw, omniglot, yale_b
from mlvae.data.collections import members
from mlvae.data.collections.images import decode
from mlvae.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs" / "dataset"
QUIET = mlvae.Reports(progress=False)
SMALL = {"size": 8, "colour": False, "workers": 0}
ALL = {"validation": 0, "test": 0}


@pytest.fixture(autouse=True)
def work_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def report(splits):
    """The reason for each file that was skipped."""
    text = splits.train.x.source.path.with_name("skipped.txt").read_text().splitlines()
    skipped = [line.removeprefix("skipped: ") for line in text if line.startswith("skipped: ")]
    return dict(line.split(" ", 1) for line in skipped)


# Hostile files


def bomb(side):
    """A PNG whose header claims this height and width."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def hostile_files(png):
    """Files that cannot be used, and a word of the reason for each."""
    noise = Image.effect_noise((32, 32), 60)
    frames = [Image.new("L", (9, 9), level) for level in (0, 99, 200)]
    several = {"save_all": True, "append_images": frames[1:]}
    whole = {
        "png": saved(noise, "PNG"),
        "jpg": saved(noise, "JPEG"),
        "gif": saved(noise, "GIF"),
        "bmp": saved(noise, "BMP"),
        "tif": saved(noise, "TIFF"),
        "webp": saved(noise, "WEBP", lossless=True),
        "ppm": saved(noise.convert("RGB"), "PPM"),
    }
    broken = bytearray(whole["png"])
    broken[60] ^= 0xFF  # its checksum is wrong
    header = {"a.bmp": b"BM" + bytes(12), "a.gif": b"GIF89a", "a.jpg": b"\xff\xd8\xff\xe0"}
    files = {f"cut.{kind}": (content[: len(content) // 2], "") for kind, content in whole.items()}
    files |= {name: (content, "") for name, content in header.items()}
    files |= {
        "zero.jpg": (b"", "is empty"),
        "zero.png": (b"", "is empty"),
        "text.jpg": (b"not an image\n", "is not an image"),
        "page.png": (b"<html><body>404</body></html>", "is not an image"),
        "notes.txt": (b"hello", "is not an image"),
        "nulls.png": (bytes(1000), "is not an image"),
        "signature.png": (b"\x89PNG\r\n\x1a\n", ""),
        "broken.png": (bytes(broken), "cannot be decoded"),
        "animated.gif": (saved(frames[0], "GIF", **several), "3 frames"),
        "animated.png": (saved(frames[0], "PNG", **several), "3 frames"),
        "animated.webp": (saved(frames[0], "WEBP", **several), "3 frames"),
        "pages.tif": (saved(frames[0], "TIFF", **several), "3 frames"),
        "bomb.png": (bomb(9_000), "pixels"),
        "bigger.png": (bomb(60_000), "pixels"),
        "floats.tif": (saved(Image.new("F", (9, 9), 0.5), "TIFF"), "32 bits"),
        "integers.tif": (saved(Image.new("I", (9, 9), 7), "TIFF"), "32 bits"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS"),
        "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image"),
        "inner.zip": (b"PK\x05\x06" + bytes(18), "is not an image"),
        "huge.bmp": (bytes(200_001), "200,001"),
        "double.png": (png(0), "is the same as ann/0.png"),
    }
    return {f"eve/{name}": content for name, content in files.items()}


@pytest.mark.parametrize("packed", ["people", "people.zip", "people.tar.gz"])
@pytest.mark.parametrize("workers", [0, 1])
def test_hostile_files_are_named_and_the_others_train(
    write, png, monkeypatch, tmp_path, packed, workers, time_limit
):
    monkeypatch.setattr(members, "MAX_FILE", 200_000)
    good = {
        f"{who}/{i}.png": png(10 * k + i) for k, who in enumerate(("ann", "bob")) for i in range(8)
    }
    sixteen = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    good["bob/sixteen.png"] = saved(Image.fromarray(sixteen), "PNG")
    good["bob/cmyk.jpg"] = saved(Image.new("CMYK", (9, 9), (9, 99, 199, 0)), "JPEG")
    hostile = hostile_files(png)
    root = write(packed, good | {name: content for name, (content, _) in hostile.items()})
    expected = {name: reason for name, (_, reason) in hostile.items()}
    if root.is_dir():
        (root / "loop").symlink_to(root)
        (root / "eve/loop.png").symlink_to("loop.png")
        (root / "eve/broken.jpg").symlink_to("nothing")
        (root / "eve/twin.png").symlink_to("../ann/1.png")
        os.mkfifo(root / "eve/pipe.png")
        expected |= {"loop": "link", "eve/loop.png": "link", "eve/broken.jpg": "link"}
        expected |= {"eve/twin.png": "is the same as", "eve/pipe.png": "not a regular file"}
        assert len(expected) >= 36
    everything = {"workers": workers, "size": 8, "colour": False, **ALL}
    with time_limit(60):  # a pipe would block forever
        splits = faces(root, **everything)
    reasons = report(splits)
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in reasons[name], name
    assert len(splits.train) == len(good) and splits.train.group_names == ["ann", "bob"]
    model = mlvae.models.MLVAE(splits.train.shape, network=mlvae.networks.MLP(hidden=(8,)))
    mlvae.train(model, splits.train, run=tmp_path / "run", epochs=1, reports=QUIET)
    # Only the cache and the run were written.
    assert {path.name for path in tmp_path.iterdir()} == {packed, "cache", "run"}
    first = next(iter(reasons))
    for cache in ("cache", "new"):
        with pytest.raises(InputError, match=rf"dataset\.strict=true .*{re.escape(first)}"):
            faces(root, strict=True, cache=cache, **everything)


def test_without_a_usable_image_the_error_has_the_first_reason(write):
    with pytest.raises(InputError, match=r"dataset\.root=.*people .* 2 .*ann/1\.jpg .*image"):
        faces(write("people", {"ann/1.jpg": b"no", "ann/2.jpg": b""}), **SMALL)
    (Path("empty")).mkdir()
    with pytest.raises(InputError, match=r"dataset\.root=.*empty .*<identity>/<image>"):
        faces("empty", **SMALL)


def test_a_file_without_an_identity_is_named(write, people):
    splits = faces(
        write("people", people() | {"lonely.png": people()["ann/ann_0000.png"]}), **SMALL
    )
    assert report(splits).keys() == {"lonely.png"}


@pytest.mark.parametrize("root", [[], [3], [None, "people"]], ids=str)
def test_the_root_is_a_path_or_several(root):
    with pytest.raises(InputError, match=rf"dataset\.root .* not {re.escape(str(root))}"):
        faces(root)


def test_a_table_is_given_once(write, people, tmp_path):
    root = write("people", people())
    tables = [root / "a.csv", root / "b.csv"]
    for table in tables:
        table.write_text("file,identity\nann/ann_0000.png,ann\n")
    with pytest.raises(InputError, match=r"dataset\.root and dataset\.table .* not 2"):
        faces(tables, **SMALL)
    with pytest.raises(InputError, match=r"dataset\.root and dataset\.table"):
        faces(tables[0], table=tables[1], **SMALL)


def test_strict_accepts_a_sound_collection(write, people):
    assert len(faces(write("people", people()), strict=True, **SMALL, **ALL).train) == 12


# Layouts of collections


def test_a_folder_of_people_trains_with_few_options(write, png, tmp_path):
    names = [f"person{i:02}" for i in range(30)]
    root = write(
        "mine", {f"{n}/{i}.png": png(100 * k + i) for k, n in enumerate(names) for i in range(10)}
    )
    splits = faces(root, size=16, colour=False)
    assert [len(part) for _, part in splits] == [240, 30, 30]
    assert splits.test is None and splits.train.shape == (1, 16, 16)
    for _, part in splits:  # the files are of the observations, in their order
        files = [root / name for name in part.names]
        assert [file.parent.name for file in files] == part.labels.tolist()
        options = {"size": 16, "channels": 1, "crop": 1.0}
        decoded = np.stack([decode(file.read_bytes(), **options) for file in files])
        assert np.array_equal(part.x, decoded)
    seen = set(splits.train.group_names)
    assert not seen & set(splits.unseen.group_names) and len(splits.unseen.group_names) == 3
    model = mlvae.models.MLVAE(splits.train.shape, network=mlvae.networks.MLP(hidden=(8,)))
    result = mlvae.train(
        model, splits.train, validation=splits.validation, run="run", epochs=1, reports=QUIET
    )
    assert np.isfinite(result.metrics["validation/loss"])


def test_folders_may_be_nested_below_a_common_folder(write, png):
    files = {"set/a/ann/1.png": png(1), "set/a/bob/1.png": png(2), "set/b/ann/1.png": png(3)}
    names = faces(write("nested.tar", files), **SMALL, **ALL).train.group_names
    assert names == ["a/ann", "a/bob", "b/ann"]


def test_joined_collections_share_identities_of_the_same_name(write, png):
    roots = [
        write("one", {"ann/1.png": png(1), "bob/1.png": png(2)}),
        write(
            "two.zip", {"two/ann/2.png": png(3), "two/eve/1.png": png(4), "two/eve/2.png": png(2)}
        ),
    ]
    train = faces(roots, **SMALL, **ALL).train
    assert train.group_names == ["ann", "bob", "eve"]
    assert train.groups.sizes.tolist() == [2, 1, 1]


def test_a_table_may_be_the_root_and_name_the_split_and_factors(write, png, tmp_path):
    rows = ["file,identity,split,light,hat"]
    rows += [
        f"{i}.png,{'ann' if i < 4 else 'bob'},{'train' if i % 2 else 'test'},{i / 2},{i % 3}"
        for i in range(8)
    ]
    rows += ["8.png,eve,test,,1"]
    root = write("flat", {f"{i}.png": png(i) for i in range(10)})
    (root / "people.csv").write_text("\n".join(rows))
    splits = faces(root / "people.csv", split="table", factors=["light"], **SMALL)
    assert [name for name, _ in splits] == ["train", "test", "unseen"]
    assert splits.train.factors["light"].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert splits.unseen.group_names == ["eve"] and splits.unseen.factors["light"].isnan().all()
    # Groups by another column.
    assert faces(root / "people.csv", group="hat", **SMALL, **ALL).train.group_names == [
        "0",
        "1",
        "2",
    ]
    with pytest.raises(InputError, match=r"dataset\.group .*hat, identity, light, .*'person'"):
        faces(root / "people.csv", group="person", **SMALL)
    # Two columns joined: as groups, and as a factor, which is a category.
    both = faces(root / "people.csv", factors=["split+hat"], group="split+hat", **SMALL, **ALL)
    assert both.train.group_names == [f"{a}+{b}" for a in ("test", "train") for b in (0, 1, 2)]
    assert torch.equal(both.train.factors["split+hat"].long(), both.train.groups.index)
    lit = faces(root / "people.csv", factors=["identity+light"], **SMALL, **ALL).train
    assert lit.factors["identity+light"].isnan().sum() == 1  # eve's light is not known
    with pytest.raises(InputError, match=r"dataset\.factors=split .*'test'"):
        faces(root / "people.csv", factors=["split"], **SMALL)


def test_a_file_that_only_the_table_has_is_named(write, png):
    root = write("flat", {"1.png": png(1)})
    (root / "t.txt").write_text("1.png 7\n2.png 8\n")
    reasons = report(faces(root / "t.txt", **SMALL, **ALL))
    assert list(reasons) == ["2.png"] and "table" in reasons["2.png"]


def test_a_table_may_have_absolute_paths(write, png):
    root = write("flat", {"a/1.png": png(1), "b/1.png": png(2), "c/1.png": png(3)})
    (root / "t.csv").write_text(f"path,identity\n{root}/a/1.png,ann\n{root}/b/1.png,bob\n")
    splits = faces(root / "t.csv", **SMALL, **ALL)
    assert splits.train.group_names == ["ann", "bob"] and report(splits) == {}


# Nothing is merged or dropped without a report


@pytest.mark.parametrize("packed", ["people", "people.zip", "people.tar"])
def test_files_of_operating_systems_are_left_out_by_name(write, png, packed):
    people = {f"{who}/{i}.png": png(10 * k + i) for k, who in enumerate("ab") for i in range(3)}
    system = {
        ".Trash-1000/files/0.png": png(100),
        "a/.ipynb_checkpoints/0.png": png(101),
        "a/@eaDir/0.png/thumb.png": png(102),
        "a/._0.png": b"",
        "a/Thumbs.db": b"x",
        "__MACOSX/a/0.png": png(103),
        "b/.DS_Store": b"y",
    }
    splits = faces(write(packed, people | system), strict=True, **SMALL, **ALL)
    assert splits.train.group_names == ["a", "b"] and len(splits.train) == 6
    text = splits.train.x.source.path.with_name("skipped.txt").read_text()
    for name in system:
        assert f"left out: {name} " in text


def test_a_damaged_archive_with_a_hidden_name_is_skipped(write, png):
    root = write(".people.tar", {f"a/{i}.png": png(i) for i in range(4)})
    root.write_bytes(root.read_bytes()[:2048])
    assert list(report(faces(root, **SMALL, **ALL))) == [".people.tar"]


def test_images_without_an_identity_are_left_out_and_counted(write, png, capsys):
    root = write("flat", {f"{i}.png": png(i) for i in range(7)})
    words = ["ann", "", "bob", "", "ann", "bob", ""]
    splits = ["train", "test", "test", "train", "train", "train", "train"]
    rows = [f"{i}.png,{words[i]},{splits[i]},{i}" for i in range(7)]
    (root / "t.csv").write_text("\n".join(["file,identity,split,light", *rows]))
    options = {"factors": ["light"], **SMALL}
    train = faces(root / "t.csv", **options, **ALL).train
    assert train.group_names == ["ann", "bob"] and train.groups.sizes.tolist() == [2, 2]
    assert sorted(train.factors["light"].tolist()) == [0, 2, 4, 5]
    assert "3 images without identity" in capsys.readouterr().out
    parts = faces(root / "t.csv", split="table", **options)
    assert parts.train.factors["light"].tolist() == [0, 4, 5]
    assert parts.test.factors["light"].tolist() == [2]
    joined = faces(root / "t.csv", group="split+identity", **options, **ALL).train
    assert joined.group_names == ["test+bob", "train+ann", "train+bob"]
    with pytest.raises(InputError, match=r"dataset\.group=identity .* 3 of 7 .*dataset\.strict"):
        faces(root / "t.csv", strict=True, **options, **ALL)


@pytest.mark.parametrize("word", ["NA", "nan", "None", "null", "<NA>", "n/a"])
def test_a_word_for_a_missing_identity_is_a_group_and_is_reported(write, png, capsys, word):
    files = {f"{i}.png": png(i) for i in range(9)}
    lines = [f"{i}.png,{['ann', 'bob', word][i % 3]}" for i in range(9)]
    files["t.csv"] = "\n".join(["file,identity", *lines]).encode()
    root = write("people", files)
    splits = faces(root, table=root / "t.csv", **SMALL | ALL)
    assert word in splits.train.group_names
    assert f"3 images have identity {word!r}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "path",
    ["/data/ann/root/{}", "IMAGES/{}", "C:\\data\\{}.jpeg", "other/{}", "{}.jpg"],
)
def test_where_no_file_of_a_table_is_found_both_sides_are_shown(write, png, path):
    files = {f"images/ann{i}.png": png(i) for i in range(3)}
    lines = [f"{path.format(f'images/ann{i}.PNG')},ann" for i in range(3)]
    root = write("people", files | {"t.csv": "\n".join(["file,identity", *lines]).encode()})
    with pytest.raises(InputError, match=r"ann0\.PNG.*images/ann0\.png") as raised:
        faces(root, table=root / "t.csv", **SMALL | ALL)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("header", ["Image,Label", "FILENAME,LABEL", "Path,Label", "File,label"])
def test_the_column_of_files_may_have_any_case(write, png, header):
    files = {f"{who}{i}.png": png(i + 10 * j) for j, who in enumerate("ab") for i in range(2)}
    lines = [f"{name},{name[0]}" for name in files]
    root = write("people", files | {"t.csv": "\n".join([header, *lines]).encode()})
    group = header.split(",")[1]
    splits = faces(root, table=root / "t.csv", group=group, strict=True, **SMALL | ALL)
    assert splits.train.group_names == ["a", "b"]


def test_a_column_without_any_value_gives_no_groups(write, png):
    root = write("flat", {"1.png": png(1), "2.png": png(2)})
    (root / "t.csv").write_text("file,identity\n1.png,\n2.png,\n")
    with pytest.raises(InputError, match=r"dataset\.group=identity .* 2 of 2 "):
        faces(root / "t.csv", **SMALL, **ALL)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (["16777216", "16777217"], "16777216 and 16777217"),
        (["1700000000", "1700000001"], "1700000000 and 1700000001"),
        (["1", "1e39"], r"1e\+39"),
        (["inf", "1"], "inf"),
        (["dark", "1"], "'dark'"),
    ],
)
def test_factors_that_float32_cannot_hold_are_refused(write, png, numbers, words):
    root = write("flat", {"1.png": png(1), "2.png": png(2)})
    rows = [f"{i}.png,ann,{number}" for i, number in enumerate(numbers, 1)]
    (root / "t.csv").write_text("\n".join(["file,identity,light", *rows]))
    with pytest.raises(InputError, match=rf"dataset\.factors=light .*{words}"):
        faces(root / "t.csv", factors=["light"], **SMALL, **ALL)


def test_measurements_are_rounded_to_float32(write, png):
    root = write("flat", {"1.png": png(1), "2.png": png(2), "3.png": png(3)})
    rows = ["1.png,ann,0.1", "2.png,ann,0.1000000001", "3.png,ann,"]
    (root / "t.csv").write_text("\n".join(["file,identity,light", *rows]))
    light = faces(root / "t.csv", factors=["light"], **SMALL, **ALL).train.factors["light"]
    assert light[0] == light[1] == torch.tensor(0.1) and light[2].isnan()


@pytest.mark.parametrize("limit", [1, 8, 11, 12, 20])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_limit_is_exact(write, people, limit, workers):
    options = SMALL | {"workers": workers}
    splits = faces(write("people", people()), limit=limit, **options, **ALL)
    assert len(splits.train) == min(limit, 12)


def test_celeba_is_found_in_its_published_layout(write, png):
    archive = write("celeba.zip", {f"img_align_celeba/{i:06}.jpg": png(i) for i in range(1, 7)})
    folder = Path("celeba")
    folder.mkdir()
    archive.rename(folder / "img_align_celeba.zip")
    lines = [f"{i:06}.jpg {2880 + i % 2}" for i in range(1, 7)]
    (folder / "identity_CelebA.txt").write_text("\n".join(lines))
    for root in (".", "celeba"):
        assert celeba(root, **SMALL, **ALL).train.group_names == ["2880", "2881"]
    with pytest.raises(InputError, match=r"dataset\.root=cache .*identity_CelebA\.txt"):
        celeba("cache", **SMALL)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, r"dataset\.size .* 1, not 0"),
        ({"colour": "no"}, r"dataset\.colour .* not 'no'"),
        ({"crop": 0}, r"dataset\.crop .*\(0, 1\], not 0"),
        ({"factors": "light"}, r"dataset\.factors .* not 'light'"),
        ({"factors": None}, r"dataset\.factors .* not None"),
        ({"factors": ["light"]}, r"dataset\.factors .*identity.* not 'light'"),
        ({"minimum": 0}, r"dataset\.minimum .* 1, not 0"),
        ({"maximum": 0}, r"dataset\.maximum .* 1, not 0"),
        ({"split": "people"}, r"dataset\.split .*groups, images, table, not 'people'"),
        ({"within": 0.5, "split": "images"}, r"dataset\.within=0\.5 .*dataset\.split=groups"),
        ({"split": "table"}, r"dataset\.split=table .*identity"),
        ({"split": "images", "validation": 0, "test": ["ann"]}, r"dataset\.test .*\['ann'\]"),
        ({"seed": -1}, r"dataset\.seed .* 0, not -1"),
        ({"limit": 0}, r"dataset\.limit .* 1, not 0"),
        ({"strict": 1}, r"dataset\.strict .* not 1"),
        ({"workers": -1}, r"dataset\.workers .* 0, not -1"),
        ({"table": "none.csv"}, r"dataset\.table=.*none\.csv .*No such file"),
        ({"root": []}, r"dataset\.root .* not \[\]"),
        ({"root": "none"}, r"dataset\.root=.*none .*No such"),
    ],
)
def test_options_out_of_range_give_one_line(write, people, options, words):
    options = {"root": write("people", people())} | SMALL | options
    with pytest.raises(InputError, match=words) as error:
        faces(options.pop("root"), **options)
    assert "\n" not in str(error.value)


# Configurations


@pytest.mark.parametrize("dataset", [faces, lfw, yale_b, celeba, omniglot])
def test_the_configs_have_the_defaults_of_the_functions(dataset):
    config = yaml.safe_load((CONFIGS / f"{dataset.__name__}.yaml").read_text())
    defaults = faces.__kwdefaults__ | dataset.__kwdefaults__
    assert config.pop("name") == dataset.__name__
    assert config.keys() - defaults.keys() == {"root"}
    missing = defaults.keys() - config.keys()
    assert missing <= {"name", "pattern", "table", "labels"}  # which a named dataset fixes
    for name in config.keys() - {"root", "cache"}:
        value = defaults[name]
        assert config[name] == (list(value) if isinstance(value, tuple) else value), name


def test_the_typed_options_are_those_of_faces():
    module = importlib.import_module("mlvae.data.sources.identities")
    for dataset, record in (
        (lfw, module._LFWOptions),
        (yale_b, module._GreyOptions),
        (omniglot, module._GreyOptions),
        (celeba, module._CelebAOptions),
    ):
        typed = keys_of(record)
        own = set(dataset.__kwdefaults__)
        assert not typed & own
        assert typed | own | {"pattern", "labels"} == faces.__kwdefaults__.keys()


def keys_of(record):
    """Keys of a TypedDict and of those that it extends."""
    return set(record.__required_keys__ | record.__optional_keys__)


# Real data

LIMIT = {"limit": 300, "workers": 0}


def test_a_list_of_columns_gives_several_groupings(write, png):
    names = {f"i{i}.png": png(i) for i in range(5)}
    people, hats = ["ann", "ann", "bob", "bob", ""], ["red", "", "red", "blue", "blue"]
    lines = [f"{n},{p},{h}" for n, p, h in zip(names, people, hats, strict=True)]
    root = write("flat", names)
    (root / "t.csv").write_text("\n".join(["file,identity,hat", *lines]))
    options = {"table": root / "t.csv", **SMALL, **ALL}
    data = faces(root, group=["identity", "identity+hat", "hat"], **options).train
    assert list(data.groupings) == ["identity", "identity_hat", "hat"]
    assert data.groupings["identity"].labels.tolist() == ["ann", "ann", "bob", "bob"]
    assert data.groupings["hat"].labels.tolist() == ["red", None, "red", "blue"]
    assert len(data.groupings["identity_hat"].names) == 4
    assert faces(root, group=["hat"], **options).train.group_names == ["blue", "red"]
    for group in ([], ["hat", "hat"], 3):
        with pytest.raises(InputError, match=r"dataset\.group"):
            faces(root, group=group, **options)


def test_yale_b_has_the_directions_of_the_light_as_factors(data_root):
    train = yale_b(data_root, **LIMIT, **ALL).train
    assert train.shape == (1, 64, 64) and train.group_names[0] == "yaleB01"
    azimuth, elevation = train.factors["azimuth"], train.factors["elevation"]
    assert azimuth.min() == -130 and azimuth.max() == 130
    assert elevation.min() == -40 and elevation.max() == 90
    # The side of the face towards the light is brighter.
    x = train.batch().x
    left, right = x[..., :32].mean((1, 2, 3)), x[..., 32:].mean((1, 2, 3))
    side = (left - right) / (left + right)
    assert torch.corrcoef(torch.stack((azimuth, side)))[0, 1].abs() > 0.8


def test_omniglot_characters_in_two_files_are_used_once(data_root):
    splits = omniglot(data_root, size=16, workers=0)
    assert sum(len(part) for _, part in splits) == 4840
    assert sum(len(part.group_names) for _, part in splits) == 242
    drawers = splits.train.factors["alphabet+drawer"].int()
    assert len(drawers.unique()) == 8 * 20  # 20 people drew each of 8 alphabets
    greek = torch.tensor([name.startswith("Greek/") for name in splits.train.group_names])
    assert len(drawers[greek[splits.train.groups.index]].unique()) == 20
    alphabets = omniglot(data_root, size=16, workers=0, group="alphabet", **ALL).train
    assert "Greek" in alphabets.group_names and len(alphabets.group_names) == 8


def test_lfw_is_read_from_its_archive(data_root):
    train = lfw(data_root, **LIMIT, **ALL).train
    assert train.shape == (3, 64, 64) and len(train) == 300
    assert {"AJ_Cook", "Aaron_Peirsol"} <= set(train.group_names)
