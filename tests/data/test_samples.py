"""WebDataset shards: the label of an image is in a file beside it."""

import json

import pytest

from mlvae.data import PartedData, faces
from mlvae.data.collections import samples
from mlvae.errors import InputError

OPTIONS = {"size": 6, "colour": False, "workers": 0, "validation": 0, "test": 0}


@pytest.fixture
def opened(tmp_path):
    return lambda root, **options: faces(root, cache=tmp_path / "cache", **OPTIONS | options)


def with_words(png, first_number, ending="cls"):
    """Six samples of three labels; the file with the label is before or after the image."""
    files = {}
    for number in range(first_number, first_number + 6):
        pair = [(f"{number:04}.{ending}", f" p{number % 3}\n".encode())]
        pair.append((f"{number:04}.png", png(number)))
        files |= dict(pair if number % 2 else reversed(pair))
    return files


@pytest.mark.parametrize("packed", [".tar", ".tar.gz"])
def test_a_word_beside_an_image_is_its_identity(opened, write, png, packed):
    write(f"a-0{packed}", with_words(png, 0))
    root = write(f"a-1{packed}", with_words(png, 6))
    data = opened(root.parent / f"a-*{packed}", labels="cls").train
    assert data.group_names == ["p0", "p1", "p2"] and data.groups.sizes.tolist() == [4, 4, 4]
    assert data.names.tolist()[:2] == ["0000.png", "0001.png"]
    assert data.labels.tolist() == [f"p{number % 3}" for number in range(12)]


def test_a_record_beside_an_image_has_its_columns(opened, write, png):
    files = {}
    for number in range(4):
        record = {"donor": "ab"[number % 2], "age": number / 2, "box": [1, 2], "note": None}
        files |= {
            f"x/{number}.seg.png": png(number),
            f"x/{number}.json": json.dumps(record).encode(),
        }
    data = opened(write("x.tar", files), labels="json", group="donor", factors=["age"]).train
    assert data.group_names == ["a", "b"] and data.factors["age"].tolist() == [0, 0.5, 1, 1.5]


def test_shards_of_samples_are_prepared_in_parts(opened, write, png):
    write("a-0.tar", with_words(png, 0, "txt"))
    root = write("a-1.tar", with_words(png, 6, "txt"))
    data = opened(root.parent / "a-*.tar", labels="txt", parts=3).train
    assert isinstance(data, PartedData) and len(data) == 12
    assert [part.opened().groups.num_groups for part in data.parts] == [1, 1, 1]


def test_samples_without_a_sound_label_are_named(opened, write, png, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "MAX_FILES", 4)
    files = {
        "0.png": png(0),
        "1.json": b"{",
        "1.png": png(1),
        "2.json": b"[1]",
        "2.png": png(2),
        "3.json": b"\xff",
        "3.png": png(3),
        "4.json": b'{"identity": "ann"}',
        "4.png": png(4),
        "4.a.png": png(5),
        "4.b.png": png(6),
        "4.c.png": png(7),
    }
    data = opened(write("x.tar", files), labels="json").train
    assert data.names.tolist() == ["4.png", "4.a.png", "4.b.png"]
    (report,) = (tmp_path / "cache").glob("*/skipped.txt")
    lines = report.read_text().splitlines()
    assert lines[0].startswith("3 used, 5 skipped")
    assert {line.split()[1] for line in lines[1:]} == {
        "0.png",
        "1.png",
        "2.png",
        "3.png",
        "4.c.png",
    }


def test_labels_of_other_sources_and_other_endings_are_refused(opened, write, people):
    with pytest.raises(InputError, match=r"dataset\.labels=cls"):
        opened(write("people.zip", people()), labels="cls")
    with pytest.raises(InputError, match=r"dataset\.labels .*cls, txt"):
        opened(write("people.tar", people()), labels="xml")
