"""Hints from the names of files: which pattern groups the images of one folder."""

import re

import pytest

from mlvae.data import faces
from mlvae.errors import InputError

SMALL = {"size": 8, "colour": False, "workers": 0}
ALL = {"validation": 0, "test": 0}


@pytest.fixture(autouse=True)
def work_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def files(png, names):
    return {name: png(i) for i, name in enumerate(names)}


def pattern_in(text):
    (found,) = re.findall(r"""'dataset\.pattern="(.*?)"'""", text)
    return found


#: Names of some images of three identities, and the identities, by the collection's convention.
NAMES = {
    "LFW": (["Aaron_Eckhart", "Bob_de_Niro", "Zoe_Ö"], "{}_000{}.jpg"),
    "VGGFace2": (["n000001", "n000002", "n000003"], "{}_000{}_01.jpg"),
    "AT&T": (["s1", "s2", "s10"], "{}_{}.pgm"),
    "FERET": (["00001", "00002", "00003"], "{}fa0{}0.png"),
    "colour FERET": (["00001", "00002", "00003"], "{}_93083{}_fa_a.png"),
    "Multi-PIE": (["001", "002", "003"], "{}_01_01_051_0{}.png"),
    "CMU PIE": (["04001", "04002", "04003"], "{}_27_0{}.jpg"),
    "Yale": (["subject01", "subject02", "subject03"], "{}.mood{}.png"),
    "Extended Yale B": (["yaleB01", "yaleB02", "yaleB03"], "{}_P00A+00{}E+00.pgm"),
    "CACD": (["Ann_Lee", "Bob_Roy", "Eve_Poe"], "53_{}_000{}.jpg"),
    "FG-NET": (["001", "002", "003"], "{}A0{}.JPG"),
    "SCface": (["001", "002", "003"], "{}_cam{}_1.jpg"),
    "MORPH": (["00123", "00124", "00125"], "{}_0M2{}.jpg"),
    "AgeDB": (["AnnLee", "BobRoy", "EvePoe"], "{1}_{0}_2{1}_f.jpg"),
    "JAFFE": (["KA", "KL", "KM"], "{}.AN{}.39.tiff"),
    "IMDB-WIKI": (["nm0000001", "nm0000002", "nm0000003"], "{}_rm{}_1970-1-1_1999.jpg"),
}


@pytest.mark.parametrize("collection", NAMES)
@pytest.mark.parametrize("folder", ["images/", "set/aligned/"])
def test_the_images_of_one_folder_get_the_pattern_that_groups_them(
    write, png, capsys, collection, folder
):
    identities, name = NAMES[collection]
    names = [f"{folder}{name.format(who, i)}" for who in identities for i in range(1, 4)]
    root = write("people", files(png, names))
    assert len(faces(root, **SMALL, **ALL).train.group_names) == 1
    shown = capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(InputError, match=r"dataset\.pattern=") as error:
        faces(root, **SMALL)
    assert "\n" not in str(error.value) and "images of" not in shown
    pattern = pattern_in(shown)
    assert pattern == pattern_in(str(error.value)) and "\\" not in pattern
    train = faces(root, pattern=pattern, **SMALL, **ALL).train
    assert train.group_names == sorted(identities) and train.groups.sizes.tolist() == [3, 3, 3]


@pytest.mark.parametrize("collection", ["FERET", "colour FERET", "Multi-PIE", "CACD", "Yale"])
def test_images_in_no_folder_get_a_hint_unless_the_number_at_the_end_is_right(
    write, png, capsys, collection
):
    identities, name = NAMES[collection]
    names = [name.format(who, i) for who in identities for i in range(1, 4)]
    root = write("people", files(png, names))
    try:
        faces(root, **SMALL, **ALL)
        text = capsys.readouterr().out
    except InputError as error:
        text = str(error)
    train = faces(root, pattern=pattern_in(text), **SMALL, **ALL).train
    assert train.group_names == sorted(identities)


def test_training_and_test_folders_are_no_identities(write, png, capsys):
    names = [f"train/p{i}_000{k}.jpg" for i in range(4) for k in range(2)]
    names += [f"test/p{i}_000{k}.jpg" for i in range(4, 6) for k in range(2)]
    root = write("people", files(png, names))
    assert faces(root, **SMALL, **ALL).train.group_names == ["test", "train"]
    pattern = pattern_in(capsys.readouterr().out)
    train = faces(root, pattern=pattern, **SMALL, **ALL).train
    assert train.group_names == [f"p{i}" for i in range(6)]


@pytest.mark.parametrize("folder", ["", "img_align_celeba/"])
def test_names_of_numbers_get_a_hint_of_a_table(write, png, capsys, folder):
    root = write("people", files(png, [f"{folder}{i:06}.jpg" for i in range(5)]))
    try:
        faces(root, **SMALL, **ALL)
        text = capsys.readouterr().out
    except InputError as error:
        text = str(error)
    assert "dataset.table" in text and "identity_CelebA.txt" in text


@pytest.mark.parametrize(
    "names",
    [
        [f"s{k}/{i}.pgm" for k in range(2) for i in range(3)],
        [f"n00000{k}/000{i}_01.jpg" for k in range(5) for i in range(3)],
        [f"Ann_{k}/Ann_{k}_000{i}.jpg" for k in range(2) for i in range(3)],
        [f"{who}_000{i}.jpg" for who in ("Ann_Lee", "Bob") for i in range(3)],
        [f"{who}/IMG_000{i}.jpg" for who in ("ann", "bob") for i in range(3)],
    ],
    ids=["AT&T", "VGGFace2", "LFW", "no folder", "a camera's names"],
)
def test_sound_collections_get_no_hint(write, png, capsys, names):
    faces(write("people", files(png, names)), **SMALL, **ALL)
    assert "dataset.pattern" not in capsys.readouterr().out


def test_a_pattern_or_a_table_ends_the_hint(write, png, capsys):
    root = write("people", files(png, [f"all/a_{i:04}.jpg" for i in range(3)]))
    faces(root, pattern="(?P<identity>[a-z]+)/.*", **SMALL, **ALL)
    (root / "t.csv").write_text("".join(f"a_{i:04}.jpg,x\n" for i in range(3)))
    faces(root / "t.csv", **SMALL, **ALL)
    assert "dataset.pattern" not in capsys.readouterr().out
