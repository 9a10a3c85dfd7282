"""Adult and Law School: columns, conditions, published numbers."""

import gzip

import numpy as np
import pytest

from mlvae import InputError
from mlvae.data import adult, law_school, open_dataset

ADULT = """\
39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, \
2174, 0, 40, United-States, <=50K
37, ?, 83311, HS-grad, 9, Married-civ-spouse, Craft-repair, Wife, Black, Female, 0, 0, 41, ?, >50K

"""
TEST = "|1x3 Cross validator\n" + ADULT.replace("K\n", "K.\n")
LAW = """\
,race,sex,LSAT,UGPA,region_first,ZFYA
0,White,1,39.0,3.1,GL,-0.98
1,Asian,2,36.0,3.0,GL,0.09
2,Black,2,30.0,2.8,MS,-1.0
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "adult").mkdir()
    (tmp_path / "adult" / "adult.data").write_text(ADULT)
    (tmp_path / "adult" / "adult.test").write_text(TEST)
    (tmp_path / "law_school").mkdir()
    (tmp_path / "law_school" / "law_data.csv.gz").write_bytes(gzip.compress(LAW.encode()))
    return tmp_path


def test_the_binary_columns_are_those_of_the_publication(root):
    data = adult(root, validation=0, test=0).train
    assert data.feature_names == [
        *("sex", "race", "age", "country", "marital", "education", "occupation", "hours"),
        *("workclass", "relationship", "income"),
    ]
    first, second = [1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1]
    assert sorted(map(tuple, data.x.int().tolist())) == sorted(map(tuple, [first, second] * 2))


def test_the_columns_as_they_are_have_kinds(root):
    data = adult(root, binary=False, validation=0, test=0).train
    kinds = {column.name: column.kind for column in data.columns.features}
    assert kinds["sex"] == kinds["income"] == "binary" and kinds["age"] == "positive"
    assert kinds["workclass"] == "categorical" and "workclass=?" in data.feature_names
    assert sorted(data.x[:, data.feature_names.index("education")].tolist()) == [9, 9, 13, 13]


def test_law_school_has_white_and_black_students(root):
    data = law_school(root, validation=0, test=0).train
    assert data.feature_names == ["black", "male", "LSAT", "UGPA", "ZFYA"]
    expected = [[0, 0, 39.0, 3.1, -0.98], [1, 1, 30.0, 2.8, -1.0]]
    np.testing.assert_allclose(sorted(data.x.tolist()), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "file", "text", "match"),
    [
        (adult, "adult/adult.data", "39, State-gov\n", "line 1"),
        (adult, "adult/adult.data", ADULT.replace("39", "old"), "old"),
        (adult, "adult/adult.test", None, r"adult\.test"),
        (law_school, "law_school/law_data.csv.gz", b"\0", r"law_data\.csv\.gz"),
        (law_school, "law_school/law_data.csv.gz", "race,sex\nWhite,1\n", "LSAT"),
        (law_school, "law_school/law_data.csv.gz", LAW.replace("3.1", "good"), "good"),
    ],
)
def test_damaged_files_give_one_line(root, name, file, text, match):
    path = root / file
    if text is None:
        path.unlink()
    else:
        content = text if isinstance(text, bytes) else text.encode()
        gz = path.name.endswith(".gz") and isinstance(text, str)
        path.write_bytes(gzip.compress(content) if gz else content)
    with pytest.raises(InputError, match=match):
        name(root)


def test_the_published_files_have_the_known_differences(data_root):
    if not (data_root / "adult").exists() or not (data_root / "law_school").exists():
        pytest.skip("needs adult and law_school in MLVAE_DATA")
    splits = open_dataset(name="adult", root=data_root)
    x = np.concatenate([data.x.numpy() for _, data in splits])
    assert x.shape == (48_842, 11) and len(splits.test) == 9768
    man, rich = x[:, 0] == 1, x[:, 10]
    assert rich[man].mean() - rich[~man].mean() == pytest.approx(0.1945, abs=1e-4)
    x = np.concatenate([data.x.numpy() for _, data in law_school(data_root)])
    columns = np.column_stack((np.ones(len(x)), x[:, :2]))
    effects = np.linalg.lstsq(columns, x[:, 2:], rcond=None)[0][1]
    assert len(x) == 19_567 and effects == pytest.approx([-8.006, -0.393, -1.039], abs=1e-3)
