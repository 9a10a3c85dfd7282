"""The codes of data in several groupings, as arrays and as frames."""

import numpy as np
import pytest
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.networks import MLP

SPEAKER, DIGIT = ["b", "a", "b", None, "a"], [7, 7, 8, 8, 8]
LABELS = {"speaker": SPEAKER, "digit": DIGIT}


def built(**options):
    torch.manual_seed(0)
    dims = {"speaker": 2, "digit": 3}
    return mlvae.models.MLVAE((4,), content_dim=dims, network=MLP(hidden=(6,)), **options).eval()


@pytest.mark.parametrize("given", [False, True])
def test_there_is_a_content_of_each_group_of_each_grouping(given):
    model = built(style_given_content=given)
    data = GroupedData(torch.rand(5, 4), groups=LABELS)
    encoded = mlvae.encode(model, data, batch_size=2)
    assert encoded.content_speaker.shape == (3, 2) and encoded.content_digit.shape == (2, 3)
    assert encoded.groupings["speaker"].names == ["a", "b", None]
    assert encoded.groupings["digit"].names == [7, 8] and encoded.group_names == ["a", "b", None]
    codes = model.codes(data.batch())
    for name in ("speaker", "digit"):
        each = encoded.means[f"content_{name}"][encoded.groupings[name].index]
        np.testing.assert_allclose(each, codes[f"content_{name}"].mean.detach(), atol=1e-5)
    np.testing.assert_allclose(encoded.style, codes["style"].mean.detach(), atol=1e-5)
    again = mlvae.encode(model, data.x, groups=LABELS)
    np.testing.assert_allclose(again.content_digit, encoded.content_digit, atol=1e-5)


def test_observations_without_groups_are_alone_in_every_grouping():
    model, x = built(), torch.rand(5, 4)
    assert mlvae.encode(model, x).content_digit.shape == (5, 3)
    some = mlvae.encode(model, x, groups={"digit": DIGIT})
    assert some.content_digit.shape == (2, 3) and some.content_speaker.shape == (5, 2)
    with pytest.raises(InputError, match="groups"):
        mlvae.encode(model, x, groups=DIGIT)
    with pytest.raises(InputError, match="speaker"):
        mlvae.encode(model, GroupedData(x, DIGIT))


def test_each_content_is_a_frame_with_the_labels_of_its_grouping():
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("narwhals")
    frame = pandas.DataFrame(np.random.default_rng(0).random((5, 4)), columns=list("wxyz"))
    frame = frame.assign(speaker=SPEAKER, digit=DIGIT)
    model = built()
    model.table_columns = GroupedData.from_frame(frame, group=["speaker", "digit"]).columns
    encoded = mlvae.encode(model, frame)
    assert encoded.content_digit.index.name == "digit"
    assert encoded.content_digit.index.tolist() == [7, 8]
    assert encoded.content_speaker.index.name == "speaker" and len(encoded.style) == 5


def test_an_anndata_has_a_content_for_each_grouping():
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    obs = pandas.DataFrame({"speaker": list("babaa"), "digit": list("77888")}, index=list("vwxyz"))
    adata = anndata.AnnData(np.random.default_rng(0).random((5, 4)).astype(np.float32), obs=obs)
    mlvae.annotate(adata, built(), group=["speaker", "digit"])
    assert adata.obsm["X_content_digit"].shape == (5, 3)
    assert adata.uns["mlvae"]["groups_digit"].tolist() == ["7", "8"]
    assert adata.uns["mlvae"]["content_speaker"].shape == (2, 2)
    same = adata.obsm["X_content_digit"][[0, 1]]
    assert (same[0] == same[1]).all()
    assert adata.obsm["X_content_digit_single"].shape == (5, 3)
