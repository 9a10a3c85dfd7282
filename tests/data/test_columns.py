"""Columns of a file: from its folder, from its path, or from a table."""

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


def test_the_identity_is_the_whole_path_of_the_folder():
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
def test_folders_that_all_paths_share_are_removed(paths, short):
    assert without_common_folders(paths) == short


def test_without_a_folder_the_identity_is_the_name_without_its_number():
    columns = Columns()
    assert columns.of("Ann_Lee_0001.jpg") == {"identity": "Ann_Lee"}
    assert columns.of("bob-12") == {"identity": "bob"}
    assert "<identity>_<number>" in columns.of("IMG0001.jpg")


def test_a_pattern_names_the_columns_and_leaves_other_files_out():
    columns = Columns(r"(?P<identity>[a-z]+)/(?P<light>-?\d+)\.png")
    assert columns.of("set/ann/-30.png") == {"identity": "ann", "light": "-30"}
    assert columns.of("set/ann/-30.png.bad") is None
    assert columns.of("set/ANN/30.png") is None


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(", "unterminated"), ("[a-z]+", r"\(\?P<identity>.* '\[a-z\]\+'")],
)
def test_a_pattern_must_be_valid_and_name_a_column(pattern, words):
    with pytest.raises(InputError, match=rf"dataset\.pattern .*{words}"):
        Columns(pattern)


@pytest.mark.parametrize(
    "text",
    [
        "file,identity,split\n1.jpg,ann,train\nb/2.jpg,bob,test\n",
        "split;identity;file\ntrain;ann;1.jpg\ntest;bob;b/2.jpg\n",
        "1.jpg ann train\nb/2.jpg  bob\ttest\n\n",
        "1.jpg\tann\ttrain\r\nb/2.jpg\tbob\ttest\r\n",
        '\ufefffile,identity,split\n"1.jpg","ann",train\n./b\\2.jpg,bob,test',
        "identity,image,split\nann,1.jpg,train\nbob,b/2.jpg,test\n",
    ],
    ids=["commas", "semicolons", "spaces", "tabs", "quotes and a byte-order mark", "image"],
)
def test_tables_of_many_formats_give_the_same_columns(table, text):
    columns = table(text)
    assert columns.of("img/1.jpg") == {"identity": "ann", "split": "train"}
    assert columns.of("a/b/2.jpg") == {"identity": "bob", "split": "test"}
    assert columns.of("2.jpg") is None
    assert list(columns.missing()) == []


def test_a_line_names_one_file_and_lines_without_a_file_are_reported(table):
    columns = table("1.jpg 7\n2.jpg 7\n")
    assert columns.of("a/1.jpg") == {"identity": "7"}
    assert all(word in columns.of("b/1.jpg") for word in ("'1.jpg'", "people.csv"))
    assert list(columns.missing()) == ["2.jpg"]


@pytest.mark.parametrize(
    "text", ["1.jpg 佐藤\u3000花子\n", "file,identity\n1.jpg,佐藤\u3000花子\n"]
)
def test_a_wide_space_belongs_to_a_name(table, text):
    assert table(text).of("1.jpg") == {"identity": "佐藤\u3000花子"}


def test_a_cell_in_quotes_may_have_several_lines(table):
    columns = table('file,identity\n1.jpg,"ann\n\nlee"\n2.jpg,bob\n')
    assert columns.of("1.jpg") == {"identity": r"ann\n\nlee"}
    assert columns.of("2.jpg") == {"identity": "bob"}


@pytest.mark.parametrize("file", ["/data/set/img/1.jpg", "set/img/1.jpg", "img/1.jpg", "1.jpg"])
def test_a_table_may_name_a_file_by_the_folders_above_the_root(table, file):
    columns = table(f"{file} ann\n")
    assert columns.of("other/1.jpg" if "/" in file else "2.jpg", "/data/set") is None
    assert columns.of("img/1.jpg", "/data/set") == {"identity": "ann"}


def test_accents_match_in_both_unicode_forms(table):
    # macOS stores a letter and its accent as two characters.
    columns = table("Jose\u0301/1.jpg Jose\u0301\n")
    assert columns.of("Jos\u00e9/1.jpg") == {"identity": "Jos\u00e9"}
    assert Columns("(?P<identity>Jose\u0301)").of("Jos\u00e9") == {"identity": "Jos\u00e9"}


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "ann/._1.png", ".git/x/1.png", "ann/@eaDir/1.png", "__MACOSX/ann/1.png",
     "lost+found/1.png", "$RECYCLE.BIN/1.png", "ann/Thumbs.db", "ann/desktop.ini"],
)  # fmt: skip
def test_hidden_files_and_those_of_operating_systems_are_known(name):
    assert Columns().is_system(name)
    assert Columns("(?P<identity>.*)").is_system(name)


@pytest.mark.parametrize("name", ["ann/1.png", "ann.b/1.png", "@ann/1.png", "lost/found.png"])
def test_other_files_are_no_system_files(name):
    assert not Columns().is_system(name, "/home/.cache/people")


def test_a_table_may_name_a_hidden_file(table):
    columns = table(".old/1.png ann\n2.png bob\n")
    assert not columns.is_system("set/.old/1.png")
    assert columns.is_system("set/@eaDir/2.png") and not columns.is_system("set/2.png")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"dataset\.table=.*people\.csv .*none"),
        ("a b c d\n", r"dataset\.table=.*people\.csv .*'a, b, c, d'"),
        ("file,identity\n1.jpg\n", r"line 2 of .*people\.csv .* 2 .* 1"),
        ("file,identity\n\n1.jpg,a,b\n", r"line 3 of .*people\.csv .* 2 .* 3"),
        ("1.jpg 1\n1.jpg 2\n", r"line 2 of .*people\.csv .*'1\.jpg'"),
        ("file,identity\n,ann\n", r"line 2 of .*people\.csv .*''"),
        (b"\xff\xfe\xfa", r"dataset\.table=.*people\.csv .*UTF-8"),
        ("file,identity\n1.jpg," + "a" * 200_000, r"dataset\.table=.*people\.csv .*131072"),
    ],
    ids=[
        "empty",
        "too many columns",
        "a short line",
        "a long line",
        "a file twice",
        "no file",
        "no text",
        "a long cell",
    ],
)
def test_a_table_that_cannot_be_read_gives_one_line(table, text, words):
    with pytest.raises(InputError, match=words) as error:
        table(text)
    assert "\n" not in str(error.value)


def test_a_missing_table_gives_one_line(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.table=.*none\.csv .*No such file"):
        Columns(table=tmp_path / "none.csv")
