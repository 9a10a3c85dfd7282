"""A training on real recordings, as the guide describes it: the digit of an unseen speaker."""

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import mlvae
from mlvae.data import Grouped, open_dataset
from mlvae.likelihoods import LearnedGaussian
from mlvae.networks import Conv1d


@pytest.mark.no_cover
def test_the_content_has_the_digit_of_a_speaker_who_was_never_heard(data_root, tmp_path):
    """About 10 seconds: 2,500 files are read, and 126 steps are taken."""
    splits = open_dataset(
        "fsdd", root=data_root, group="digit", unseen_speakers=["theo"], frames=16, validation=0
    )
    torch.manual_seed(0)
    model = mlvae.models.MLVAE(
        splits.train.shape,
        content_dim=16,
        style_dim=16,
        network=Conv1d(widths=(32, 48, 64), kernel=3),
        likelihood=LearnedGaussian(scope="scalar", log_variance_min=-9),
        standardise="channel",
        accumulation="prior_product",
        evidence_from="fellow",
        style_given_content=True,
    )
    mlvae.train(
        model,
        splits.train,
        run=tmp_path / "run",
        epochs=6,
        batching=Grouped(groups=10, members=12),
        optimizer=mlvae.Adam(3e-3, schedule="cosine"),
        reports=mlvae.Reports(progress=False, pictures_every=None),
    )
    with torch.no_grad():
        known, new = (
            model.eval().infer_content(data.x).mean for data in (splits.train, splits.test)
        )
        error = (model.reconstruct(splits.test.x) - splits.test.x).square().mean()
    lda = LinearDiscriminantAnalysis().fit(known.numpy(), splits.train.labels)
    assert len(splits.test) == 500 and lda.score(new.numpy(), splits.test.labels) > 0.6
    assert error < 0.8 * splits.test.x.var(0).mean()
