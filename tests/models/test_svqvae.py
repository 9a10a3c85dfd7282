"""The supervised vector-quantised VAE: the published objective, its gradients and its codes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import mlvae
from mlvae import Batch, GroupedData, Groups, InputError
from mlvae.grids import pictures
from mlvae.likelihoods import Bernoulli, Gaussian, LearnedGaussian, Poisson
from mlvae.models import SVQVAE, build
from mlvae.models.svqvae import nearest
from mlvae.networks import MLP, PlainConv

NAMES = ["ann", "bob", "eve"]
QUIET = mlvae.Reports(progress=False, pictures_every=None)


def small(**options):
    torch.manual_seed(0)
    options = {"latent_dim": 4, "network": MLP(hidden=(16,)), "likelihood": Gaussian()} | options
    return SVQVAE((6,), **{"group_names": NAMES, **options}).double()


def batch_for(number=40, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(number, 6, generator=generator, dtype=torch.float64)
    label = torch.randint(3, (number,), generator=generator)
    return Batch(x, Groups.singletons(number, x.device), {"label": label})


def latents(model, batch):
    return model.infer(batch.x).mean


# The objective


def published_loss(x, z, label, codes, decode, beta, lam):
    """The loss of the notebook, observation by observation, from values alone."""
    total = 0.0
    for i in range(len(x)):
        own = codes[label[i]]
        distances = [float(((z[i] - code) ** 2).mean()) for code in codes]
        k = int(np.argmin(distances))
        total += float(((decode(own) - x[i]) ** 2).mean())
        total += (1 + beta) * distances[label[i]]
        if k != label[i]:
            total -= (1 + lam) * distances[k]
    return total / len(x)


@pytest.mark.parametrize(("beta", "lam"), [(0.25, 0.1), (1.0, 0.0), (0.0, 2.0)])
@pytest.mark.parametrize("output_range", [None, (-2, 3)])
def test_the_loss_is_the_published_one(beta, lam, output_range):
    model = small(commitment_weight=beta, push_weight=lam, output_range=output_range)
    batch = batch_for()
    weight, bias = (p.detach().numpy() for p in model.decoder.head.parameters())
    hidden = model.decoder.trunk

    def decode(code):
        raw = hidden(torch.from_numpy(code)).detach().numpy() @ weight.T + bias
        if output_range is None:
            return raw
        low, high = output_range
        return (high + low) / 2 + (high - low) / 2 * np.tanh(raw)

    z = latents(model, batch).detach().numpy()
    codes = model.codebook.detach().numpy()
    label = batch.given["label"].numpy()
    expected = published_loss(batch.x.numpy(), z, label, codes, decode, beta, lam)
    objective = model(batch)
    correct = objective.per_observation["correct"].mean()
    assert 0 < correct < 1  # both kinds of observations occur
    assert objective.loss.item() == pytest.approx(expected, rel=1e-12)
    assert objective.elbo is None and objective.num_groups is None


def test_the_gradients_are_those_of_the_published_loss():
    """The gradients of each term by hand, with the codes and z as free variables."""
    model, batch = small(), batch_for()
    objective = model(batch)
    (found,) = torch.autograd.grad(objective.loss, [model.codebook], retain_graph=True)
    z, label, codes = latents(model, batch).detach(), batch.given["label"], model.codebook.detach()
    number, dim = z.shape
    expected = torch.zeros_like(codes)
    for i in range(number):
        own, k = int(label[i]), int(((z[i] - codes) ** 2).sum(1).argmin())
        expected[own] += 2 * (codes[own] - z[i]) / (dim * number)
        if k != own:
            expected[k] -= 2 * (codes[k] - z[i]) / (dim * number)
    torch.testing.assert_close(found, expected)


def test_the_reconstruction_has_no_gradient_for_the_codes_and_one_for_the_encoder():
    model, batch = small(), batch_for()
    reconstruction = model(batch).per_observation["reconstruction"].sum()
    codes, *encoder = torch.autograd.grad(
        reconstruction, [model.codebook, *model.encoder.parameters()], allow_unused=True
    )
    assert codes is None
    assert all(gradient.abs().sum() > 0 for gradient in encoder)


def test_straight_through_the_gradient_of_z_is_that_of_the_code():
    model, batch = small(), batch_for()
    z = latents(model, batch).detach().requires_grad_()
    model._latent = lambda x: z  # type: ignore[method-assign]
    (found,) = torch.autograd.grad(model(batch).per_observation["reconstruction"].sum(), [z])
    code = model.codebook[batch.given["label"]].detach().requires_grad_()
    error = (model._expected(code) - batch.x).square().mean(1).sum()
    (expected,) = torch.autograd.grad(error, [code])
    torch.testing.assert_close(found, expected)


def test_the_label_and_not_the_distance_selects_the_code():
    model, batch = small(), batch_for()
    with torch.no_grad():  # z of every observation is exactly the code of another group
        other = (batch.given["label"] + 1) % 3
        model._latent = lambda x: model.codebook[other]  # type: ignore[method-assign]
    objective = model(batch)
    decoded = model.decode(model.codebook[batch.given["label"]])
    error = (decoded - batch.x).square().mean(1)
    assert torch.equal(objective.per_observation["reconstruction"], error)  # exactly that code
    assert not objective.per_observation["correct"].any()
    assert torch.equal(model.codes(batch)["content"].mean, model.codebook[batch.given["label"]])


def test_each_term_has_its_weight_and_the_push_may_be_left_out():
    batch = batch_for()
    for options, weights in (
        ({}, (1, 1, 0.25, -1, -0.1)),
        ({"commitment_weight": 2.0, "push_weight": 0.5}, (1, 1, 2, -1, -0.5)),
        ({"push": False}, (1, 1, 0.25, 0, 0)),
    ):
        objective = small(**options)(batch)
        names = ("reconstruction", "code_pull", "latent_pull", "code_push", "latent_push")
        terms = objective.per_observation
        total = sum(w * terms[name] for w, name in zip(weights, names, strict=True))
        torch.testing.assert_close(objective.loss, total.mean())
        pushed = terms["code_push"] > 0
        assert torch.equal(pushed, terms["correct"] == 0)


def test_the_loss_is_at_least_the_reconstruction_unless_the_push_is_heavier_than_the_pull():
    """The wrong code is nearer than the own one, so its squared distance is smaller."""
    for seed in range(5):
        batch = batch_for(seed=seed)
        model = small(push_weight=0.25)
        with torch.no_grad():
            model.codebook.mul_(100)
        objective = model(batch)
        assert objective.loss >= objective.per_observation["reconstruction"].mean()


def test_a_limit_changes_nothing_within_it_and_ends_the_push_beyond_it():
    batch = batch_for()
    plain = small()(batch)
    far = plain.per_observation["code_push"].detach().max()
    assert torch.equal(small(push_limit=2 * float(far))(batch).loss, plain.loss)
    limit = 0.5 * float(far)
    model = small(push_limit=limit)
    pushed = model(batch).per_observation
    assert pushed["code_push"].max() == limit < far
    beyond = plain.per_observation["code_push"] > limit
    z = latents(model, batch).detach().requires_grad_()
    model._latent = lambda x: z  # type: ignore[method-assign]
    (gradient,) = torch.autograd.grad(model(batch).per_observation["latent_push"].sum(), [z])
    active = (pushed["code_push"] > 0) & ~beyond
    assert beyond.any() and active.any()
    assert not gradient[beyond].any() and gradient[active].any(1).all()


@pytest.mark.parametrize("limit", [None, 0.1])
def test_the_code_of_a_rare_group_stays_finite(limit):
    """One percent of the observations; the rest is as often near its code as near their own."""
    x = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    label = torch.ones(400, dtype=torch.int64)
    label[:4] = 0
    batch = Batch(x, Groups.singletons(400, x.device), {"label": label})
    torch.manual_seed(0)
    model = SVQVAE(
        (8,), group_names=[0, 1], latent_dim=4, network=MLP((16,)), likelihood=Gaussian(),
        push_limit=limit,
    )  # fmt: skip
    adam = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(300):
        adam.zero_grad()
        loss = model(batch).loss
        loss.backward()
        adam.step()
    assert loss.isfinite()
    # Every z is in [-1, 1]; a code further away than the limit from all of them is not pushed.
    reach = 4**0.5 * (1 + (4.0 if limit is None else limit**0.5)) + 0.1
    assert model.codebook.norm(dim=1).max() < reach


# Codes and decoded observations


def test_the_nearest_code_is_that_of_the_smallest_distance():
    z = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    codes = torch.randn(9, 7, generator=torch.Generator().manual_seed(1))
    expected = (z[:, None] - codes).square().sum(2).argmin(1)
    assert torch.equal(nearest(z, codes), expected)
    assert nearest(codes[[3, 0]], torch.cat((codes, codes))).tolist() == [3, 0]


def test_the_class_of_an_observation_is_the_label_of_its_nearest_code():
    model, batch = small(), batch_for()
    number = model.nearest_code(batch.x)
    assert torch.equal(number, nearest(latents(model, batch), model.codebook))
    assert model.classify(batch.x) == [NAMES[k] for k in number.tolist()]
    data = GroupedData(batch.x.float(), np.array(NAMES)[batch.given["label"].numpy()])
    assert model.float().classify(data) == [NAMES[k] for k in number.tolist()]
    right = model.double()(batch).per_observation["correct"]
    assert torch.equal(right == 1, number == batch.given["label"])


def test_the_latent_needs_no_label_and_does_not_depend_on_it():
    model, batch = small(), batch_for()
    other = replace(batch, given={"label": (batch.given["label"] + 1) % 3})
    assert torch.equal(model.codes(batch)["latent"].mean, model.codes(other)["latent"].mean)
    assert torch.equal(model.codes(batch)["latent"].mean, model.infer(batch.x).mean)
    assert model.infer(batch.x).mean.abs().max() < 1


def test_the_decoder_sees_the_code_alone_so_a_group_has_one_reconstruction():
    model, batch = small(), batch_for()
    codes = model.codes(batch)
    one = model.decode(codes["content"], codes["latent"])
    assert torch.equal(one, model.decode(codes["content"]))
    assert len(one.unique(dim=0)) == 3
    reconstructed = model.reconstruct(batch.x)
    assert torch.equal(reconstructed, model.decode(model.codebook[model.nearest_code(batch.x)]))


def test_codes_have_the_labels_of_their_groups():
    model = small()
    assert torch.equal(model.code_of("eve"), model.codebook[2])
    assert torch.equal(model.code_of(["eve", "ann"]), model.codebook[[2, 0]])
    with pytest.raises(InputError, match=r"model.group_names.*'zoe'"):
        model.code_of("zoe")


def test_initial_codes_are_uniform_in_the_published_interval():
    torch.manual_seed(0)
    model = SVQVAE((6,), group_names=range(10), latent_dim=2000)
    codes = model.codebook
    assert codes.abs().max() <= 0.1 and codes.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.03)


# Training


def test_decoded_codes_of_a_trained_model_are_the_means_of_the_groups(digits):
    torch.manual_seed(0)
    model = SVQVAE((1, 8, 8), group_names=range(10), network=MLP(()))
    train, test = digits.train.labelled(range(10)), digits.test.labelled(range(10)).batch()
    adam = torch.optim.Adam(model.parameters(), 2e-2)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 500)
    order = torch.randint(len(train), (500, 256), generator=torch.Generator().manual_seed(0))
    for rows in order:
        adam.zero_grad()
        model(train.batch(rows)).loss.backward()
        adam.step()
        decay.step()
    means = train.groups.sum(train.batch().x) / train.groups.sizes.view(-1, 1, 1, 1)
    decoded = model.decode(model.codebook.detach())
    assert (decoded - means).square().mean().sqrt() < 0.03
    floor = (test.x - means[test.given["label"]]).square().mean()
    recon = model(test).per_observation["reconstruction"].mean()
    assert recon < 1.02 * floor


def test_a_run_reports_the_loss_and_no_bound_and_is_loaded(digits, tmp_path):
    torch.manual_seed(0)
    model = SVQVAE((1, 8, 8), group_names=range(10), network=MLP(()))
    result = mlvae.train(
        model, digits.train, validation=digits.validation, run=tmp_path / "run", epochs=1,
        device="cpu", reports=QUIET,
    )  # fmt: skip
    assert not any("elbo" in name for name in result.metrics)
    assert "validation/loss=" in repr(result)
    assert set(pictures(model, digits.test.labelled(range(10)))) == {"reconstructions"}
    loaded = mlvae.load(tmp_path / "run")
    assert torch.equal(loaded.codebook, model.codebook) and loaded.group_names == list(range(10))
    encoded = mlvae.encode(loaded, digits.test)
    assert encoded.content.shape == (10, 64) and encoded.latent.shape == (len(digits.test), 64)


def test_observations_of_other_units_are_decoded_in_these_units():
    images = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    images[0, 0, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    data = GroupedData(images, [0, 1] * 10)
    model = SVQVAE(
        (1, 28, 28), group_names=[0, 1], latent_dim=3200, network=PlainConv(head=False),
        likelihood=Gaussian(), standardise="range", output_range=[-1, 1],
    )  # fmt: skip
    model.standardise.measure([data.observations(torch.arange(20))])
    batch = data.labelled([0, 1]).batch()
    decoded = model.decode(**{n: q.mean for n, q in model.codes(batch).items()})
    assert decoded.min() >= 0 and decoded.max() <= 1
    inside = (2 * decoded - 1 - (2 * batch.x - 1)).square().flatten(1).mean(1)
    torch.testing.assert_close(model(batch).per_observation["reconstruction"], inside)
    again = build((1, 28, 28), model.config)
    assert again.options == model.options


# Bad input


@pytest.mark.parametrize("method", ["forward", "codes"])
def test_a_batch_without_labels_is_refused(method):
    batch = Batch(torch.rand(4, 6).double(), Groups.of([0, 0, 1, 1]))
    with pytest.raises(InputError, match=r"SVQVAE .*given\['label'\].*model.group_names"):
        getattr(small(), method)(batch)


@pytest.mark.parametrize(("shift", "wrong"), [(1, 3), (-1, -1)])
def test_a_label_beyond_the_known_groups_is_refused(shift, wrong):
    batch = batch_for()
    batch = replace(batch, given={"label": batch.given["label"] + shift})
    for method in ("forward", "codes"):
        with pytest.raises(InputError, match=rf"given\['label'\] .*\[0, 3\).*not be {wrong}"):
            getattr(small(), method)(batch)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group_names": []}, "model.group_names"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"commitment_weight": -1}, "commitment_weight"),
        ({"push_weight": float("nan")}, "push_weight"),
        ({"push_limit": 0}, "push_limit"),
        ({"push": 1}, "push"),
        ({"likelihood": LearnedGaussian()}, "LearnedGaussian.*likelihood=gaussian"),
        ({"likelihood": Poisson()}, "Poisson.*log1p.*likelihood=gaussian"),
        ({"likelihood": Bernoulli(), "output_range": (0, 1)}, "output_range.*Bernoulli"),
        ({"output_range": (1, 1)}, r"output_range\[1\]"),
        ({"output_range": 3}, "output_range.*3"),
        ({"standardise": "all"}, "standardise"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        small(**options)


def test_a_network_without_a_family_is_refused():
    class Own(MLP):
        def encoder(self, shape, dims):
            return super().encoder(shape, dims)

    with pytest.raises(InputError, match=r"family.*Own"):
        small(network=Own((8,)))


def test_groups_outside_the_training_data_are_refused(tmp_path):
    unseen = GroupedData(torch.rand(4, 6), ["ann", "zoe", "bob", "eve"])
    model = small(likelihood=Gaussian()).float()
    with pytest.raises(InputError, match=r"3 groups .*'zoe'"):
        mlvae.train(model, unseen, run=tmp_path / "run", device="cpu")
    with pytest.raises(InputError, match=r"SVQVAE needs groups"):
        mlvae.encode(model, torch.rand(4, 6))
