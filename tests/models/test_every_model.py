"""The contract of models: every model obeys it, and a new model adds its cases to the list.

The model of a user's own is that of docs/tutorials/own-model.md, executed as printed. The
documentation executes the whole page.

Shapes: N observations, G groups.
"""

import copy
import inspect
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import matplotlib as mpl
import pytest
import torch

import mlvae
from mlvae import Batch, GroupedData, InputError, Objective
from mlvae.costs import Separation
from mlvae.data import Grouped, Shuffled, Splits
from mlvae.evaluation import Embedding, Fidelity, Likelihood, Manipulation, evaluate
from mlvae.evidence import ACCUMULATIONS, EVIDENCE_FROM
from mlvae.grids import pictures
from mlvae.likelihoods import (
    Bernoulli,
    ColumnScale,
    Gaussian,
    MixedColumns,
    NegativeBinomial,
)
from mlvae.models import DCEVAE, MODELS, SVQVAE, VAE, VSAE, Roles, Rotations, Traits, build, traits
from mlvae.models.protocol import has_codes
from mlvae.networks import MLP

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "own-model.md"
PART = PAGE.read_text().split("\n## A network\n")[0]
BLOCKS = re.findall(r"```{code-cell}\n(.*?)```", PART, flags=re.DOTALL)
OWN: dict[str, Any] = {"__name__": "own"}
exec(BLOCKS[0], OWN)

COLUMNS = MixedColumns(
    (
        ColumnScale("income", mean=3.0, deviation=2.0),
        ColumnScale("colour", "categorical", levels=3),
        ColumnScale("visits", "count", mean=1.0, deviation=0.7),
        ColumnScale("smokes", "binary"),
    )
)

ROLES = Roles("smokes", "income", ("colour",))

#: Kinds of data: the shape of an observation, and a likelihood of its values.
KINDS = {
    "images": ((1, 8, 8), Bernoulli()),
    "vectors": ((12,), Gaussian(0.5)),
    "counts": ((12,), NegativeBinomial()),
    "tables": ((6,), COLUMNS),
    "tables with missing cells": ((6,), COLUMNS),
}
COSTS = Separation(moments=1.0, mmd=1.0, pair_critic=1.0, content_critic=1.0, swap=1.0, width=8)
SIMPLEX = {"content_family": "dirichlet", "accumulation": "prior_product"}
GROUPS = range(5)
FRAMES = 4  # of a trajectory


@dataclass(frozen=True)
class Case:
    """A model with options, to be built for both kinds of data."""

    model: Any
    options: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self):
        options = [
            f"{name}={value}" if isinstance(value, str | int | float) else name
            for name, value in self.options.items()
        ]
        return "-".join((self.model.__name__, *options))

    @property
    def known(self):
        """Whether the model is one of the library."""
        return self.model in MODELS.values()

    @property
    def kinds(self):
        """The kinds of data that the model is tested with."""
        if self.model is VSAE or "cells" in self.options:
            return ["tables with missing cells"]
        if self.model is DCEVAE:
            return ["tables"]
        kinds = ["images", "vectors", "counts", *(["tables"] if self.model is VAE else [])]
        return [kind for kind in kinds if (self.model, kind) != (SVQVAE, "counts")]

    @property
    def has_bound(self):
        """Whether the objective of the model has a bound."""
        of_values = self.options.get("mask") == "values"  # of a VSAE
        return self.model not in (SVQVAE, Rotations) and not of_values

    @property
    def random(self):
        """Whether the model draws latents."""
        return self.model not in (SVQVAE, Rotations) or "content_dim" in self.options

    def build(self, kind, seed=0):
        """The model with initial weights by ``seed``."""
        shape, likelihood = shape_of(self.model, kind), KINDS[kind][1]
        options = {"likelihood": likelihood, **self.options}
        if self.known:
            options = {"network": MLP(hidden=(16,)), **options}
            if "group_names" in option_names(self.model):
                options["group_names"] = GROUPS
        torch.manual_seed(seed)
        return self.model(shape, **options)


def shape_of(model, kind):
    """The shape of an observation for a class of models: that of a kind, or a trajectory of it."""
    shape = KINDS[kind][0]
    return (FRAMES, *shape) if model is Rotations else shape


def option_names(model):
    """Names of the options of a model of the library."""
    return {option.name for option in fields(model.Options)}


#: The first case of every model has every kind of data, and is also trained.
CASES = {
    "MLVAE": [
        {"separation": COSTS, "content_dim": 3, "style_dim": 2},
        *[{"accumulation": rule} for rule in ACCUMULATIONS],
        *[{"evidence_from": members} for members in EVIDENCE_FROM],
        {"evidence_from": "others", "accumulation": "prior_product"},
        {"content_draw": "group"},
        {"style_given_content": True},
        {"style_given_content": True, "separation": COSTS},
        {"content_kl_weight": 0.5, "style_kl_weight": 2.0, "batch_groups": "parts"},
        {"content_capacity": 3.0, "style_capacity": 1.0},
        {**SIMPLEX, "content_alpha": 0.5},
        {**SIMPLEX, "content_draw": "group", "batch_groups": "parts"},
        {**SIMPLEX, "style_given_content": True, "separation": COSTS},
        *[{**SIMPLEX, "evidence_from": members} for members in EVIDENCE_FROM],
        {"content_dim": {"a": 3, "b": 2}, "style_given_content": True},
        {"cells": "evidence", "accumulation": "prior_product", "separation": COSTS},
        {"cells": "mask", "style_given_content": True},
    ],
    "VAE": [{"latent_dim": 3}, {"kl_weight": 4.0}],
    "AdaVAE": [{"latent_dim": 3}, {"average": "mean"}],
    "ConditionalVAE": [{"content_dim": 3, "style_dim": 2}, {"style_kl_weight": 2.0}],
    "DirVAE": [
        {"latent_dim": 3, "prior_update": "moments"},
        {"latent_dim": 3, "sampler": "implicit", "kl": "dirichlet"},
        {"latent_dim": 3, "kl_weight": 2.0, "network": MLP(hidden=(16,), batch_norm=True)},
    ],
    "SVQVAE": [
        {"latent_dim": 3},
        {"push": False},
        {"commitment_weight": 1.0, "push_weight": 0.5, "push_limit": 0.01},
    ],
    "Rotations": [
        {"entanglement_weight": 0.1, "latent_dim": 3},
        {"continuous": True, "actions": 2},
        {"transition": "matrix"},
        {"content_dim": 2, "consistency_weight": 0.1, "content_kl_weight": 0.5},
        {"transition": "network", "width": 5},
        {"transition": "network", "width": 5, "continuous": True, "actions": 2},
    ],
    "VSAE": [
        {"block_dim": 1},
        {"mask": "values", "pseudo": "posterior"},
        {"mask": "none", "pseudo": "prior", "kl_weight": 2.0},
    ],
    "DCEVAE": [
        {"roles": ROLES, "caused_dim": 2},
        {"roles": ROLES, "fairness_weight": 1.0, "independence_weight": 2.0},
    ],
    "Statistician": [{"content_dim": 3, "style_dim": 2, "width": 16}],
}
MODEL_CLASSES = {**MODELS, "Statistician": OWN["Statistician"]}
ALL = [Case(MODEL_CLASSES[name], options) for name, cases in CASES.items() for options in cases]
TRAINED = [Case(MODEL_CLASSES[name], cases[0]) for name, cases in CASES.items()]


def with_kinds(cases):
    """A test for each of these cases with a kind of data that its model takes.

    The first case of a model has every kind. The kinds of its other cases take turns: an option of
    a model and the kind of its data have no code in common.
    """
    pairs, seen = [], Counter()
    for case in cases:
        place = seen[case.model]
        seen[case.model] += 1
        kinds = [case.kinds[place % len(case.kinds)]] if place else case.kinds
        pairs += [(case, kind) for kind in kinds]
    return pytest.mark.parametrize(
        ("case", "kind"), pairs, ids=[f"{case}-{kind}" for case, kind in pairs]
    )


every_case = with_kinds(ALL)
bound_case = with_kinds([case for case in ALL if case.has_bound])
library_case = pytest.mark.parametrize("case", [case for case in ALL if case.known], ids=repr)
trained_case = with_kinds(TRAINED)


def observations(model, kind, labels, seed=1):
    """Data for a model, with the groups ``labels``."""
    shape, generator = shape_of(type(model), kind), torch.Generator().manual_seed(seed)
    given = {}
    if "action" in traits(model).needs:
        size, options = (len(labels), FRAMES - 1), model.options
        given["action"] = torch.randint(options.actions, size, generator=generator)
        if options.continuous:
            given["action"] = torch.randn(*size, options.actions, generator=generator)
    if kind.startswith("tables"):
        x = COLUMNS.sample(torch.zeros(len(labels), 2, *shape), generator=generator)
        cells = torch.arange(4 * len(labels)).reshape(-1, 4)
        given = {"observed": cells % 3 > 0} if "missing" in kind else None
        return GroupedData(x, labels, given=given, kind="array")
    draw = torch.randn if kind == "vectors" else torch.rand
    x = draw(len(labels), *shape, generator=generator)
    x = (9 * x).floor() if kind == "counts" else x
    return GroupedData(x, labels, given=given, kind="array" if given else "auto")


def in_groupings(model, data):
    """The data with the groupings of the contents of a model, each within the one before."""
    names = [name for name in traits(model).grouping_of.values() if name != "group"]
    parts = [torch.arange(len(data)) % 2**number for number in range(len(names))]
    labels = [(8 * data.groups.index + part).tolist() for part in parts]
    return data.regrouped(dict(zip(names, labels, strict=True))) if names else data


def labelled(model, data):
    """The data with the labels that the model needs."""
    stated = traits(model)
    return data if stated.group_names is None else data.labelled(stated.group_names)


def batch_for(model, kind, dtype=torch.float32):
    """Groups of several sizes in a mixed order, as large as training allows."""
    pairs = traits(model).largest_group is not None
    labels = [2, 0, 1, 0, 2, 3, 1] if pairs else [2, 0, 1, 0, 2, 4, 2, 2, 1]
    data = in_groupings(model, observations(model, kind, labels))
    batch = labelled(model, data).batch()
    return replace(batch, x=batch.x.to(dtype))


def run_once(model, batch, seed=0):
    """The objective of a batch, with seeded noise."""
    return model(batch, generator=torch.Generator().manual_seed(seed))


def means(codes):
    return {name: q.mean for name, q in codes.items()}


def players(model):
    """The parameters of each player."""
    stated = traits(model).players
    return {"model": list(model.parameters())} if stated is None else stated


def assert_same_codes(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name].mean, second[name].mean, **tolerance)
        moments = first[name].moments().variance, second[name].moments().variance
        torch.testing.assert_close(*moments, **tolerance)


EXACT = {"rtol": 0, "atol": 0}


def test_every_model_of_the_library_has_a_case():
    assert CASES.keys() - {"Statistician"} == MODELS.keys()


# Training: the objective


@every_case
def test_the_objective_has_finite_losses_and_terms_of_the_shape_of_their_unit(case, kind):
    model = case.build(kind)
    batch = batch_for(model, kind)
    for mode in (True, False):
        objective = run_once(model.train(mode), batch)
        assert (
            isinstance(objective, Objective) and objective.losses.keys() == players(model).keys()
        )
        size, groups = len(batch), batch.groups.num_groups
        assert objective.num_observations == size
        assert objective.num_groups in (None, groups)
        assert objective.count == (objective.num_groups or size)
        assert {loss.shape for loss in objective.losses.values()} == {()}
        assert all(term.shape == (size,) for term in objective.per_observation.values())
        assert all(term.shape == (groups,) for term in objective.per_group.values())
        assert all(value.shape == () for value in objective.scalars.values())
        everything = [
            *objective.losses.values(),
            *objective.per_observation.values(),
            *objective.per_group.values(),
            *objective.scalars.values(),
        ]
        assert all(value.isfinite().all() for value in everything)


@every_case
def test_every_parameter_has_a_gradient_of_the_loss_of_its_player(case, kind):
    model = case.build(kind)
    batch = batch_for(model, kind)
    owned = [parameter for own in players(model).values() for parameter in own]
    assert {id(p) for p in owned} == {id(p) for p in model.parameters()}
    assert len(owned) == len(list(model.parameters()))
    names = {parameter: name for name, parameter in model.named_parameters()}
    objective = run_once(model, batch)
    for player, own in players(model).items():
        loss = objective.losses[player]
        for parameter, gradient in zip(
            own, torch.autograd.grad(loss, own, retain_graph=True), strict=True
        ):
            assert gradient.isfinite().all(), names[parameter]
            # A table of contents has a row for each group of the data, in the batch or not.
            assert gradient.any(), names[parameter]


@bound_case
def test_the_bound_is_the_sum_of_its_terms_and_has_no_gradient(case, kind):
    model = case.build(kind)
    batch = batch_for(model, kind)
    approximate = case.known and getattr(model.options, "sampler", None) == "approximate"
    for mode in (True, False):
        objective = run_once(model.train(mode), batch)
        if approximate and mode:
            assert objective.elbo is None  # a bound needs exact samples
            continue
        kl = [v for name, v in objective.per_observation.items() if name.endswith("kl")]
        bound = objective.per_observation["log_likelihood"] - sum(kl)
        if objective.num_groups is not None:
            bound = batch.groups.sum(bound)
            bound = bound - sum(v for n, v in objective.per_group.items() if n.endswith("kl"))
        for name, found in objective.per_grouping.items():
            groups = batch.groupings[name]
            bound = bound - groups.spread(found.terms["content_kl"] / groups.sizes)
        assert len(kl) + sum(name.endswith("kl") for name in objective.per_group) > 0
        assert objective.elbo.shape == (objective.count,)
        torch.testing.assert_close(objective.elbo, bound.detach(), rtol=1e-5, atol=1e-4)
        assert not objective.elbo.requires_grad
    if approximate:
        trained = objective.per_observation["approximate_objective"]
        assert not torch.equal(trained, objective.elbo)
    else:
        trained = objective.elbo
    if not any("weight" in name or "capacity" in name for name in case.options):
        torch.testing.assert_close(objective.loss, -trained.mean())  # in evaluation


@every_case
def test_a_model_computes_in_float64(case, kind):
    model = case.build(kind).double()
    batch = batch_for(model, kind, torch.float64)
    objective = run_once(copy.deepcopy(model), batch)
    assert {loss.dtype for loss in objective.losses.values()} == {torch.float64}
    terms = (*objective.per_observation.values(), *objective.per_group.values())
    assert {term.dtype for term in terms} == {torch.float64}
    single = case.build(kind).eval()
    codes = single.codes(batch_for(single, kind))
    wide = model.eval().codes(batch)
    for name in codes:
        torch.testing.assert_close(
            codes[name].mean.double(), wide[name].mean, rtol=1e-4, atol=1e-5
        )


@every_case
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_the_objective_depends_on_the_generator_alone(case, kind, training):
    model = case.build(kind).train(training)
    batch = batch_for(model, kind)
    state = torch.get_rng_state()
    # A training step may move buffers.
    losses = [run_once(copy.deepcopy(model), batch, seed).loss.item() for seed in (0, 0, 1)]
    assert losses[0] == losses[1] and (losses[1] != losses[2]) == case.random
    assert torch.equal(torch.get_rng_state(), state)


@every_case
def test_a_batch_is_not_changed(case, kind):
    model = case.build(kind)
    batch = batch_for(model, kind)
    before = batch.clone()
    run_once(model, batch).loss.backward()
    with torch.no_grad():
        model.decode(**means(model.codes(batch)))
    assert torch.equal(batch.x, before.x) and batch.x.grad is None
    assert torch.equal(batch.groups.index, before.groups.index)
    assert torch.equal(batch.groups.sizes, before.groups.sizes)
    assert batch.given.keys() == before.given.keys()
    assert all(torch.equal(batch.given[name], before.given[name]) for name in batch.given)


# Evaluation: codes and decoded observations


@every_case
def test_codes_have_a_row_for_each_observation_and_are_decoded_to_observations(case, kind):
    model = case.build(kind).eval()
    batch = batch_for(model, kind)
    codes = model.codes(batch)
    assert codes
    for q in codes.values():
        assert len(q) == len(batch) and q.mean.ndim == 2
    with torch.no_grad():
        decoded = model.decode(**means(codes))
    assert decoded.shape == batch.x.shape and decoded.isfinite().all()
    part = {name: mean[[3, 0]] for name, mean in means(codes).items()}
    torch.testing.assert_close(model.decode(**part), decoded[[3, 0]])


@every_case
def test_a_permutation_of_the_observations_permutes_codes_and_terms(case, kind, monkeypatch):
    model = case.build(kind).double().eval()
    batch = batch_for(model, kind, torch.float64)
    # Without noise nothing depends on the order of the draws.
    for draw in ("rand", "randn"):
        monkeypatch.setattr(
            torch, draw, lambda shape, generator=None, **to: torch.zeros(shape, **to)
        )
    order = torch.tensor([6, 0, 3, 5, 1, 4, 2, *range(7, len(batch))])
    groups = {n: mlvae.Groups(each.index[order]) for n, each in batch.groupings.items()}
    given = {name: values[order] for name, values in batch.given.items()}
    other = Batch.of(batch.x[order], groups, given)
    codes = model.codes(batch)
    assert_same_codes({name: q[order] for name, q in codes.items()}, model.codes(other))
    first, second = model(batch), model(other)
    torch.testing.assert_close(first.loss, second.loss)
    for name, term in first.per_observation.items():
        torch.testing.assert_close(term[order], second.per_observation[name])
    for name, term in first.per_group.items():
        torch.testing.assert_close(term, second.per_group[name])
    if case.has_bound:
        bound = first.elbo if first.num_groups else first.elbo[order]
        torch.testing.assert_close(bound, second.elbo)


@every_case
def test_an_observation_changes_the_codes_of_its_own_group_alone(case, kind):
    model = case.build(kind).eval()
    batch = batch_for(model, kind)
    x = batch.x.clone()
    x[0] = x[-1]
    codes, changed = model.codes(batch), model.codes(replace(batch, x=x))
    others = batch.groups.index != batch.groups.index[0]
    assert_same_codes(
        {name: q[others] for name, q in codes.items()},
        {name: q[others] for name, q in changed.items()},
    )
    inferred = codes.keys() - traits(model).given_codes
    assert all(not torch.equal(codes[n].mean[0], changed[n].mean[0]) for n in inferred)


# Saving and options


@every_case
def test_a_saved_model_has_the_same_codes_and_the_same_loss(case, kind, tmp_path):
    model = case.build(kind)
    batch = batch_for(model, kind)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    if case.known:  # from plain values, as files hold them
        config = json.loads(json.dumps(traits(model).config))
        again = build(traits(model).shape, config)
        assert again.options == model.options and again.config == model.config
    else:
        again = case.build(kind, seed=1)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(run_once(model, batch).loss, run_once(again, batch).loss)
    model.eval(), again.eval()
    assert_same_codes(model.codes(batch), again.codes(batch), **EXACT)


@library_case
def test_the_options_are_the_keyword_arguments_and_the_config(case):
    model = case.build(case.kinds[0])
    shape, names = model.shape, option_names(case.model)
    assert isinstance(model.options, case.model.Options)
    assert set(model.config) == {"name", *names}
    assert set(inspect.signature(case.model).parameters) == {"shape", *names}
    for name, value in case.options.items():
        assert getattr(model.options, name) == value
    with pytest.raises(TypeError, match="contnt_dim"):
        case.model(shape, contnt_dim=3)
    with pytest.raises(InputError, match="contnt_dim"):
        build(shape, {**model.config, "contnt_dim": 3})


def conforms(value, annotation):
    """Whether a value has the type of an annotation."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (Any, object):
        return True
    if origin in (Union, UnionType):
        return any(conforms(value, choice) for choice in arguments)
    if annotation in (bool, int):
        return type(value) is annotation
    if not isinstance(value, origin or annotation):
        return False
    if origin is Callable:
        return True
    if isinstance(value, Mapping):
        keys, values = arguments
        return all(conforms(k, keys) and conforms(v, values) for k, v in value.items())
    return all(conforms(item, arguments[0]) for item in value) if arguments else True


@every_case
def test_stated_traits_have_the_types_of_traits(case, kind):
    model = case.build(kind)
    stated = traits(model)
    for name, annotation in get_type_hints(Traits).items():
        assert conforms(getattr(stated, name), annotation), name
    assert stated.shape == shape_of(case.model, kind)
    assert stated.likelihood == KINDS[kind][1]
    looked_up = stated.given_codes | stated.unconditional_codes
    assert stated.pooling.keys() | looked_up <= model.codes(batch_for(model, kind)).keys()
    assert set(stated.pooling.values()) <= ACCUMULATIONS.keys()


def test_codes_and_decode_are_both_needed_for_codes():
    class Encoding:
        def codes(self, batch):
            return {}

    class Decoding:
        decode = None

        def codes(self, batch):
            return {}

    class Both(Encoding):
        def decode(self, **codes):
            return codes

    assert has_codes(Both())
    assert not has_codes(Encoding()) and not has_codes(Decoding()) and not has_codes(None)


def test_a_value_of_another_type_does_not_conform():
    assert conforms(None, int | None) and conforms((1, 2), tuple[int, ...])
    assert not conforms(1, bool) and not conforms({"a": 1}, Mapping[str, str])
    assert not conforms([1], frozenset[int]) and not conforms("a", int | None)
    assert not conforms(["a"], Sequence[int])
    assert conforms(len, Callable[[str], int]) and not conforms("a", Callable[[str], int] | None)


# A run: training, resuming, loading, evaluation, pictures


def splits_for(model, kind):
    """A few observations for training, validation and test, and further groups."""
    pairs = traits(model).largest_group is not None
    labels = torch.arange(30) % 5
    return (
        Splits(
            train=observations(model, kind, labels, 2),
            validation=observations(model, kind, labels[:10], 3),
            test=observations(model, kind, labels[:20], 4),
            unseen=observations(model, kind, labels[:12] % 2 + 10, 5),
        ),
        Grouped(groups=4, members=2) if pairs else Shuffled(8),
    )


def train(model, splits, batching, run, epochs, **options):
    return mlvae.train(
        model,
        splits.train,
        validation=splits.validation,
        batching=batching,
        run=run,
        epochs=epochs,
        device="cpu",
        reports=mlvae.Reports(progress=False, pictures_every=None),
        **options,
    )


def assert_equal_states(first, second):
    """Tensors and plain values at any depth."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal_states(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_equal_states(one, other)
    else:
        assert first == second


@trained_case
def test_a_model_is_trained_resumed_loaded_evaluated_and_pictured(case, kind, tmp_path):
    mpl.use("Agg")
    model = case.build(kind)
    initial = copy.deepcopy(model.state_dict())
    splits, batching = splits_for(model, kind)
    result = train(model, splits, batching, tmp_path / "run", 2)
    assert result.finished and all(math.isfinite(value) for value in result.metrics.values())
    assert all(not torch.equal(initial[n], p) for n, p in model.named_parameters())
    assert not model.training

    # The resumed run ends as one that was not interrupted.
    train(case.build(kind, seed=7), splits, batching, tmp_path / "run", 3, resume=True)
    whole = case.build(kind)
    train(whole, splits, batching, tmp_path / "whole", 3)
    resumed, uninterrupted = (
        torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("run", "whole")
    )
    for part in ("model", "optimizers", "generators", "step", "best"):
        assert_equal_states(resumed[part], uninterrupted[part])

    # The run is loaded.
    own = {} if case.known else {"model": case.build(kind, seed=8)}
    loaded = mlvae.load(tmp_path / "run", **own)
    test = labelled(whole, splits.test)
    assert_same_codes(loaded.codes(test.batch()), whole.codes(test.batch()), **EXACT)
    if not case.known:
        with pytest.raises(InputError, match=r"load\(run, model=\)"):
            mlvae.load(tmp_path / "run")

    # The model is evaluated, and of the MLVAE each kind of data.
    if kind != case.kinds[0] and case.model is not mlvae.models.MLVAE:
        return
    questions = [
        Likelihood(sizes=(1, 2), groups=2, num_content=(1,), num_style=1),
        Fidelity(epochs=1, swaps=8, seeds=1),
        Embedding(method="pca", points=10),
        Manipulation(groups=2, members=2, steps=2),
    ]
    metrics = evaluate(
        loaded, splits, tmp_path / "report", questions=questions, batching=batching, progress=False
    )
    found = metrics["likelihood"]["bound"]["test"]
    assert ("elbo_per_observation" in found) == case.has_bound
    assert math.isfinite(found["elbo_per_observation" if case.has_bound else "loss"])
    assert ("records" in metrics["fidelity"]) == (
        {"content", "style"} <= loaded.codes(test.batch()).keys()
    )
    html = (tmp_path / "report" / "report.html").read_text()
    assert case.model.__name__ in html and ("has no bound on log p(x)" in html) != case.has_bound
    names = {path.stem for path in (tmp_path / "report").glob("*.png")}
    assert "embedding_test" in names
    assert "reconstructions_test" in names

    # Pictures are drawn of images and of series.
    grids = pictures(loaded, test)
    assert "reconstructions" in grids
    for grid in grids.values():
        assert grid.images == (kind == "images") and grid.tiles.min() < grid.tiles.max()
        assert kind != "images" or (grid.tiles.min() >= 0 and grid.tiles.max() <= 1)


# The page on a model of one's own


def test_the_page_on_a_model_of_ones_own_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    assert 35 <= len(BLOCKS[0].splitlines()) <= 50
    scope: dict[str, Any] = {"__name__": "page"}
    for block in BLOCKS:
        exec(block, scope)
    checkpoint = torch.load(tmp_path / "runs/mine/checkpoint.pt", weights_only=True)
    assert checkpoint["step"] == 8 * checkpoint["steps_per_epoch"]
    assert (tmp_path / "runs/mine/evaluation/report.html").is_file()
    assert math.isfinite(scope["result"].metrics["validation/elbo_per_observation"])
