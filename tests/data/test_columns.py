"""What is known of a file: from its folder, from its path, or from a table."""

import pytest

from mlvae.data.collections.columns import Columns, without_common_folders
from mlvae.errors import InputError


@pytest.fixture
def table(tmp_path):
    def build(text, name="people.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return Columns(table=path)

    return build


def test_the_identity_is_the_folder_by_its_whole_path():
    columns = Columns()
    assert columns.of("ann/1.png") == {"identity": "ann"}
    # Sessions of two people may have the same name.
    assert columns.of("ann/1/x.png") != columns.of("bob/1/x.png")


@pytest.mark.parametrize(
    ("paths", "short"),
    [
        (["lfw/ann", "lfw/bob"], ["ann", "bob"]),
        (["a/b/ann", "a/b/bob", "a/b/ann"], ["ann", "bob", "ann"]),
        (["train/ann", "test/bob"], ["train/ann", "test/bob"]),
        (["lfw", "lfw/ann"], ["lfw", "lfw/ann"]),
        (["a/ann", "a/ann"], ["ann", "ann"]),
    ],
)
def test_folders_that_all_share_are_no_part_of_a_name(paths, short):
    assert without_common_folders(paths) == short


def test_in_no_folder_the_identity_is_the_name_without_its_number():
    columns = Columns()
    assert columns.of("Ann_Lee_0001.jpg") == {"identity": "Ann_Lee"}
    assert columns.of("bob-12") == {"identity": "bob"}
    assert "lies in no identity's folder" in columns.of("IMG0001.jpg")


def test_a_pattern_names_the_columns_and_leaves_the_rest_out():
    columns = Columns(r"(?P<identity>[a-z]+)/(?P<light>-?\d+)\.png")
    assert columns.of("set/ann/-30.png") == {"identity": "ann", "light": "-30"}
    assert columns.of("set/ann/-30.png.bad") is None
    assert columns.of("set/ANN/30.png") is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "must be a regular expression"), ("[a-z]+", "must name its columns, as ")],
)
def test_a_pattern_must_name_something(pattern, message):
    with pytest.raises(InputError, match=f"dataset.pattern {message}"):
        Columns(pattern)


@pytest.mark.parametrize(
    "text",
    [
        "file,identity,split\n1.jpg,ann,train\nb/2.jpg,bob,test\n",
        "split;identity;file\ntrain;ann;1.jpg\ntest;bob;b/2.jpg\n",
        "1.jpg ann train\nb/2.jpg  bob\ttest\n\n",
        "1.jpg\tann\ttrain\r\nb/2.jpg\tbob\ttest\r\n",
        '\ufefffile,identity,split\n"1.jpg","ann",train\n./b\\2.jpg,bob,test',
    ],
    ids=["commas", "semicolons", "spaces", "tabs", "quotes and a byte-order mark"],
)
def test_tables_of_many_forms_say_the_same(table, text):
    columns = table(text)
    assert columns.of("img/1.jpg") == {"identity": "ann", "split": "train"}
    assert columns.of("a/b/2.jpg") == {"identity": "bob", "split": "test"}
    assert columns.of("2.jpg") is None
    assert list(columns.missing()) == []


def test_a_line_is_for_one_file_and_a_file_that_is_not_there_is_known(table):
    columns = table("1.jpg 7\n2.jpg 7\n")
    assert columns.of("a/1.jpg") == {"identity": "7"}
    assert columns.of("b/1.jpg") == "is '1.jpg' of people.csv, as another file is"
    assert list(columns.missing()) == ["2.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have a line for each file, not none"),
        ("a b c d\n", "must name its columns in the first line"),
        ("file,identity\n1.jpg\n", "line 2 of .* must have 2 cells as the first line, not 1"),
        ("1.jpg 1\n1.jpg 2\n", "line 2 of .* must name a file that no other line names"),
        (b"\xff\xfe\xfa", "must be text in UTF-8"),
    ],
    ids=["empty", "too many columns", "a short line", "a file twice", "no text"],
)
def test_a_table_that_cannot_be_read_is_one_line(table, text, message):
    with pytest.raises(InputError, match=message) as error:
        table(text)
    assert "\n" not in str(error.value)


def test_a_table_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv must be readable: No such file"):
        Columns(table=tmp_path / "none.csv")
