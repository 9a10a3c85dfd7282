"""The questions with figures alone: manipulation and embedding."""

import numpy as np
import pytest
import torch

from mlvae import GroupedData, InputError
from mlvae.data import Splits
from mlvae.data.splitting.splits import hold_out
from mlvae.evaluation import Embedding, Manipulation, Subject
from mlvae.models import MLVAE, VAE
from mlvae.networks import MLP

SPLIT = ["swaps", "reconstructions", "interpolation", "accumulation", "generation", "traversal"]


def test_every_figure_of_the_paper_is_drawn_of_test_and_unseen_groups(digits_subject, digits):
    seen, unseen = hold_out(digits.train, [8, 9])
    subject = Subject(digits_subject.model, Splits(seen, None, digits.test, unseen))
    names = [figure.name for figure in Manipulation().ask(subject).figures]
    assert names == [f"{name}_{part}" for part in ("test", "unseen") for name in SPLIT]


def test_a_model_with_one_latent_has_figures_without_swaps(digits):
    vae = VAE((1, 8, 8), latent_dim=5, network=MLP(hidden=(16,))).eval()
    figures = Manipulation().ask(Subject(vae, digits)).figures
    names = [figure.name.removesuffix("_test") for figure in figures]
    assert names == ["reconstructions", "interpolation", "generation", "traversal"]


def test_every_figure_has_a_caption(digits_subject):
    answers = Manipulation().ask(digits_subject), Embedding(method="pca").ask(digits_subject)
    for answer in answers:
        for figure in answer.figures:
            assert len(figure.caption) > 40 and figure.caption[-1] == "."
            assert figure.png[:8] == b"\x89PNG\r\n\x1a\n"


def test_groups_too_small_to_accumulate_leave_that_figure_out(digits_subject, digits):
    few = digits.test.subset(digits.test.one_of_each())
    subject = Subject(digits_subject.model, Splits(digits.train, None, few))
    assert "accumulation_test" not in [f.name for f in Manipulation().ask(subject).figures]


@pytest.mark.parametrize("shape", [(5,), (2, 6)])
def test_series_have_every_figure_of_images(shape):
    data = GroupedData(np.random.default_rng(0).random((60, *shape)), np.arange(60) % 3)
    model = MLVAE(shape, content_dim=2, style_dim=2, network=MLP(hidden=(8,))).eval()
    answer = Manipulation().ask(Subject(model, Splits(data, None, data)))
    assert [figure.name for figure in answer.figures] == [f"{name}_test" for name in SPLIT]
    assert not any("images" in figure.caption for figure in answer.figures)


def test_observations_that_cannot_be_drawn_have_a_reason():
    data = GroupedData(torch.rand(60, 2, 4, 4), np.arange(60) % 3)
    model = MLVAE((2, 4, 4), content_dim=2, style_dim=2, network=MLP(hidden=(8,))).eval()
    answer = Manipulation().ask(Subject(model, Splits(data, None, data)))
    assert "channels" in answer.reason and not answer.figures


def test_vectors_are_embedded_without_images():
    data = GroupedData(np.random.default_rng(0).random((60, 5)), np.arange(60) % 3)
    model = MLVAE((5,), content_dim=2, style_dim=2, network=MLP(hidden=(8,))).eval()
    subject = Subject(model, Splits(data, None, data))
    answer = Embedding(method="pca", points=30).ask(subject)
    codes, labels, pictures = answer.embeddings["content_test"]
    assert codes.shape == (30, 2) and len(labels) == 30 and pictures is None


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_the_embedding_separates_well_separated_groups(known_subject, method):
    answer = Embedding(method=method, points=80).ask(known_subject)
    assert set(answer.embeddings) == {"content_test", "style_test"}
    plane = Embedding(method=method)._plane(answer.embeddings["content_test"][0].numpy())
    labels = np.array(answer.embeddings["content_test"][1])
    centres = np.array([plane[labels == label].mean(0) for label in np.unique(labels)])
    spread = max(plane[labels == label].std() for label in np.unique(labels))
    if method == "pca":
        spread = 0.1  # the corners of a tetrahedron do not fit into the plane: only differences
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    assert distances[~np.eye(4, dtype=bool)].min() > spread


def test_images_of_the_projector_are_small(digits_subject):
    subject = Subject(
        MLVAE((3, 48, 40), content_dim=2, style_dim=2, network=MLP(hidden=(4,))).eval(),
        Splits(*[GroupedData(torch.rand(12, 3, 48, 40), [0, 1] * 6)] * 3),
    )
    pictures = Embedding(method="pca").ask(subject).embeddings["style_test"][2]
    assert pictures.shape == (12, 3, 32, 32)


def test_options_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"evaluation\.manipulation\.groups"):
        Manipulation(groups=1)
    with pytest.raises(InputError, match=r"evaluation\.manipulation\.span"):
        Manipulation(span=0)
    with pytest.raises(InputError, match=r"evaluation\.embedding\.method"):
        Embedding(method="umap")


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_a_single_observation_can_be_embedded(known, known_data, method):
    one = known_data(4).subset([0])
    answer = Embedding(method=method).ask(Subject(known, Splits(known_data(8), None, one)))
    assert answer.embeddings["content_test"][0].shape == (1, 4)


def test_labels_of_the_projector_have_no_tabs_and_line_breaks(known, known_data):
    data = known_data(40)
    data.group_names = ["tab\tnew\nline", *data.group_names[1:]]
    answer = Embedding(points=20).ask(Subject(known, Splits(data, test=data)))
    (_, labels, _), *_ = answer.embeddings.values()
    assert "tab new line" in labels and not any(set("\t\n") & set(label) for label in labels)
