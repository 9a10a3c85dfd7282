"""A real table under MLVAE_DATA: gene expression of compounds, with unseen compounds as the test.

One plate of LINCS L1000 (978 genes, 59 compounds in six doses): the compound is the group. A
training of 120 epochs takes some seconds, which no smaller real table would need less of.
"""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import mlvae
from mlvae import GroupedData
from mlvae.evaluation import n_shot_accuracy
from mlvae.likelihoods import LearnedGaussian
from mlvae.networks import MLP
from mlvae.sklearn import ContentStyle

PLATE = "l1000/LJP005_A375_24H_X1_B19.gct.gz"


@pytest.fixture(scope="module")
def wells(data_root):
    """A frame with a row for each treated well: genes, and the compound."""
    if not (data_root / PLATE).is_file():
        pytest.skip(f"{PLATE} is not there")
    with gzip.open(data_root / PLATE, "rt") as file:
        file.readline()
        _, _, of_genes, of_wells = map(int, file.readline().split())
        table = pd.read_csv(file, sep="\t", low_memory=False)
    names = table.iloc[:, 0]
    values = table.iloc[of_wells:, 1 + of_genes :].astype(float).T
    frame = values.set_axis(names[of_wells:].tolist(), axis=1)
    frame["compound"] = table.iloc[:of_wells, 1 + of_genes :].T[names.tolist().index("pert_iname")]
    return frame[frame["compound"] != "DMSO"]


def one_shot(codes, groups):
    score = n_shot_accuracy(
        torch.as_tensor(np.asarray(codes)), groups, shots=1, galleries=20, distance="cosine"
    )
    return score.mean


@pytest.mark.no_cover
def test_unseen_compounds_are_recognised_by_their_content(wells, tmp_path):
    data = GroupedData.from_frame(wells, group="compound")
    assert data.shape == (978,) and len(data.group_names) == 59
    splits = mlvae.data.split(data, by="groups", test=19)
    torch.manual_seed(0)
    model = mlvae.models.MLVAE(
        data.shape,
        content_dim=16,
        style_dim=8,
        network=MLP((128,), activation="relu"),
        likelihood=LearnedGaussian(-9.0, 1.0, scope="scalar"),
        standardise="feature",
    )
    mlvae.train(
        model,
        splits.train,
        run=tmp_path / "run",
        epochs=120,
        batching=mlvae.data.Grouped(groups=20, members=4),
        optimizer=mlvae.Adam(schedule="cosine"),
        reports=mlvae.Reports(progress=False, figures=False, tensorboard=False, advice=False),
        device="cpu",
    )
    new = wells[~wells["compound"].isin(splits.train.group_names)]
    encoded = mlvae.encode(mlvae.load(tmp_path / "run"), new)
    assert encoded.content.index.tolist() == sorted(set(new["compound"]))
    assert encoded.style.index.equals(new.index)

    unseen, scaler = splits.unseen, StandardScaler().fit(splits.train.x)
    known, x = scaler.transform(splits.train.x), scaler.transform(unseen.x)
    alone = mlvae.encode(model, unseen.x)
    accuracy = {
        "content": one_shot(alone.content, unseen.groups),
        "style": one_shot(alone.style, unseen.groups),
        "pca": one_shot(PCA(16, random_state=0).fit(known).transform(x), unseen.groups),
    }
    print({name: round(100 * value, 1) for name, value in accuracy.items()})
    assert accuracy["content"] > 4 / 19  # four times chance
    assert accuracy["content"] > accuracy["style"]
    assert accuracy["content"] > 0.8 * accuracy["pca"]


def test_the_transformer_takes_the_same_table(wells):
    x, compound = wells.drop(columns="compound"), wells["compound"]
    coder = ContentStyle(8, 4, epochs=2, random_state=0).set_output(transform="pandas")
    codes = coder.fit(x, compound).transform(x)
    assert codes.shape == (len(wells), 12) and codes.index.equals(wells.index)
