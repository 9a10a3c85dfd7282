"""The likelihood of a table: every kind sums to one, and a missing cell has no influence."""

import math

import pandas
import pytest
import torch

from mlvae import GroupedData, InputError
from mlvae.likelihoods.columns import ColumnScale, MixedColumns
from mlvae.parts import from_config, to_config

COLUMNS = (
    ColumnScale("income", mean=3.0, deviation=2.0),
    ColumnScale("price", "positive", mean=1.0, deviation=0.5),
    ColumnScale("size", "ordinal", levels=5),
    ColumnScale("visits", "count", mean=1.0, deviation=0.7),
    ColumnScale("smokes", "binary"),
    ColumnScale("colour", "categorical", levels=3),
    ColumnScale("sex", "ordinal", levels=2),
)
LIKELIHOOD = MixedColumns(COLUMNS)
NUMBER = {column.column: number for number, column in enumerate(COLUMNS)}
PLACE = {
    column.column: sum(other.levels for other in COLUMNS[:number])
    for number, column in enumerate(COLUMNS)
}


@pytest.fixture
def parameters():
    generator = torch.Generator().manual_seed(0)
    shape = (4, 2, LIKELIHOOD.num_features)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def rows(name, features):
    """Rows that are possible, with the given features (4, levels) in one column."""
    x = torch.zeros(4, LIKELIHOOD.num_features, dtype=torch.float64)
    for column in COLUMNS:
        x[:, PLACE[column.column]] = 1
    x[:, PLACE[name] : PLACE[name] + features.shape[1]] = features
    return x


def density(parameters, name, features):
    return LIKELIHOOD.cell_log_prob(parameters, rows(name, features))[:, NUMBER[name]].exp()


@pytest.mark.parametrize("name", ["size", "colour", "sex"])
def test_levels_sum_to_one(parameters, name):
    levels = COLUMNS[NUMBER[name]].levels
    one_hot = torch.eye(levels, dtype=torch.float64)
    total = sum(density(parameters, name, level.expand(4, levels)) for level in one_hot)
    assert torch.allclose(total, torch.ones(4, dtype=torch.float64), atol=1e-12)


def test_bits_and_counts_sum_to_one(parameters):
    def total(name, values):
        return sum(density(parameters, name, torch.full((4, 1), float(v))) for v in values)

    ones = torch.ones(4, dtype=torch.float64)
    assert torch.allclose(total("smokes", (0, 1)), ones)
    assert torch.allclose(total("visits", range(200)), ones, atol=1e-9)


@pytest.mark.parametrize(("name", "low", "high"), [("income", -150, 150), ("price", 1e-6, 400)])
def test_densities_integrate_to_one(parameters, name, low, high):
    grid = torch.linspace(low, high, 60_001, dtype=torch.float64)
    if name == "price":
        grid = torch.linspace(math.log(low), math.log(high), 60_001, dtype=torch.float64).exp()
    values = torch.stack([density(parameters, name, g.expand(4, 1)) for g in grid[::10]])
    assert torch.allclose(
        torch.trapezoid(values, grid[::10], dim=0), torch.ones(4, dtype=torch.float64), atol=1e-3
    )


def test_cells_equal_the_distributions_of_torch(parameters):
    a, r = parameters.unbind(1)
    x = LIKELIHOOD.sample(parameters, generator=torch.Generator().manual_seed(1))
    cells = LIKELIHOOD.cell_log_prob(parameters, x)
    std = (0.5 * (-3 + 5 * (r + math.atanh(0.6)).tanh())).exp()
    income = torch.distributions.Normal(3 + 2 * a[:, 0], 2 * std[:, 0]).log_prob(x[:, 0])
    price = torch.distributions.LogNormal(1 + 0.5 * a[:, 1], 0.5 * std[:, 1]).log_prob(x[:, 1])
    visits = torch.distributions.Poisson((1 + 0.7 * a[:, 7]).exp()).log_prob(x[:, 7])
    colour = torch.distributions.Categorical(logits=a[:, 9:12]).log_prob(x[:, 9:12].argmax(1))
    for name, found in {
        "income": income,
        "price": price,
        "visits": visits,
        "colour": colour,
    }.items():
        assert torch.allclose(cells[:, NUMBER[name]], found), name


def test_the_ordinal_levels_are_differences_of_the_logistic_function(parameters):
    a, r = parameters[:, 0, 2:7], parameters[:, 1, 2:7]
    gaps = torch.nn.functional.softplus(r[:, 1:4]) + 1e-3
    first = r[:, :1] - 1.5 * math.log(2)
    thresholds = torch.cat((first, first + gaps.cumsum(1)), 1)
    below = torch.nn.functional.pad((thresholds - a[:, :1]).sigmoid(), (1, 1))
    below[:, -1] = 1
    assert torch.allclose(LIKELIHOOD.mean(parameters)[:, 2:7], below.diff(dim=1))


def test_expected_values_are_means_of_draws(parameters):
    parameters = parameters[:1]
    many = parameters.expand(200_000, -1, -1)
    draws = LIKELIHOOD.sample(many, generator=torch.Generator().manual_seed(0))
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - LIKELIHOOD.mean(parameters)[0]).abs() < 5 * error + 1e-9).all()


def test_the_value_of_a_missing_cell_changes_nothing(parameters):
    x = rows("income", torch.full((4, 1), 2.0))
    observed = torch.ones(4, len(COLUMNS), dtype=torch.bool)
    observed[1, NUMBER["income"]] = observed[2, NUMBER["colour"]] = False
    other = x.clone()
    other[1, 0], other[2, 9:12] = 1e6, 0
    p = parameters.requires_grad_()
    one, two = (LIKELIHOOD.log_prob(p, value, observed) for value in (x, other))
    assert one.equal(two)
    (gradient,) = torch.autograd.grad(two.sum(), p)
    assert gradient[1, :, 0].eq(0).all() and gradient[2, :, 9:12].eq(0).all()
    assert gradient.isfinite().all()
    cells = LIKELIHOOD.cell_log_prob(p, x)
    assert torch.allclose(one, (cells * observed).sum(1))
    assert torch.allclose(LIKELIHOOD.log_prob(p, x), cells.sum(1))


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_gradients_are_finite_for_extreme_outputs(parameters, scale):
    p = (scale * parameters.float()).requires_grad_()
    x = LIKELIHOOD.sample(parameters.float(), generator=torch.Generator().manual_seed(1))
    LIKELIHOOD.log_prob(p, x).sum().backward()
    assert p.grad.isfinite().all()


def test_scales_are_those_of_the_observed_training_cells():
    frame = pandas.DataFrame(
        {
            "donor": ["a", "a", "b", "b"],
            "income": [1.0, 3.0, None, 5.0],
            "visits": [0, 1, 7, 3],
            "price": [1.0, math.e, math.e**2, None],
            "colour": ["red", None, "blue", "red"],
            "size": ["S", "L", "M", "S"],
        }
    )
    data = GroupedData.from_frame(
        frame,
        "donor",
        kinds={"visits": "count", "price": "positive", "colour": "categorical"}
        | {"size": ["S", "M", "L"]},
        missing="keep",
    )
    assert data.given["observed"].tolist() == [
        [True, True, True, True, True],
        [True, True, True, False, True],
        [False, True, True, True, True],
        [True, True, False, True, True],
    ]
    assert data.x[2, 0] == 0 and data.x[1, 3:5].eq(0).all()
    assert data.feature_names[-3:] == ["size=S", "size=M", "size=L"]
    likelihood = MixedColumns.of(data)
    income, visits, price, colour, size = likelihood.columns
    assert (income.column, income.kind, income.levels, income.mean) == ("income", "real", 1, 3.0)
    assert income.deviation == pytest.approx(math.sqrt(8 / 3))
    assert price.mean == pytest.approx(1.0) and price.deviation == pytest.approx(math.sqrt(2 / 3))
    assert visits.mean == pytest.approx(math.log(1 * 2 * 8 * 4) / 4)
    assert (colour.levels, size.levels, size.kind) == (2, 3, "ordinal")
    likelihood.check(data.x, data.given["observed"])
    inputs = likelihood.inputs(data.x)[:, 0][data.given["observed"][:, 0]]
    assert inputs.mean().abs() < 1e-6 and inputs.std(correction=0).item() == pytest.approx(1)


def test_a_record_is_rebuilt_from_plain_values():
    assert from_config(to_config(LIKELIHOOD), (MixedColumns,), "likelihood") == LIKELIHOOD


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("price", 0.0, "price.*positive"),
        ("visits", 1.5, "visits.*count"),
        ("smokes", 2.0, "smokes.*binary"),
        ("colour", 0.0, "colour.*categorical"),
        ("income", math.inf, "income.*real"),
    ],
)
def test_an_impossible_cell_is_refused_by_the_name_of_its_column(name, value, match):
    x = rows(name, torch.full((4, COLUMNS[NUMBER[name]].levels), value))
    with pytest.raises(InputError, match=match):
        LIKELIHOOD.check(x)
    observed = torch.ones(4, len(COLUMNS), dtype=torch.bool)
    observed[:, NUMBER[name]] = False
    LIKELIHOOD.check(x, observed)


def test_columns_must_be_known(parameters):
    with pytest.raises(InputError, match="MixedColumns"):
        MixedColumns().mean(parameters)
    with pytest.raises(InputError, match=r"levels.*colour"):
        ColumnScale("colour", "ordinal")
    with pytest.raises(InputError, match=r"levels.*income"):
        ColumnScale("income", "real", levels=2)
    with pytest.raises(InputError, match="observed"):
        LIKELIHOOD.log_prob(parameters, rows("income", torch.ones(4, 1)), torch.ones(4, 7))


@pytest.mark.parametrize("kind", ["categorical", "ordinal"])
def test_a_constant_category_has_probability_one(kind):
    frame = pandas.DataFrame({"veil": ["white", None, "white"], "size": [1.0, 2.0, 4.0]})
    kinds = {"veil": kind if kind == "categorical" else ["white"]}
    data = GroupedData.from_frame(frame, range(3), kinds=kinds, missing="keep")
    likelihood = MixedColumns.of(data)
    cells = likelihood.cell_log_prob(torch.randn(3, 2, 2), data.x)
    assert cells[[0, 2], 0].eq(0).all() and (cells[:, 1] < 0).all()
    likelihood.check(data.x, data.given["observed"])


def test_the_noise_of_a_cell_is_carried_to_other_parameters(parameters):
    x = LIKELIHOOD.sample(parameters, generator=torch.Generator().manual_seed(1))
    numbers = [PLACE["income"], PLACE["price"]]
    same = LIKELIHOOD.carried(x, parameters, parameters)
    torch.testing.assert_close(same[:, numbers], x[:, numbers])
    # One standardised unit more in the mean is one deviation more of a real number, and the factor
    # exp(deviation) of a positive one; twice the deviation is twice the noise.
    moved = parameters.clone()
    moved[:, 0] += 1
    found = LIKELIHOOD.carried(x, parameters, moved)
    torch.testing.assert_close(found[:, 0], x[:, 0] + 2)
    torch.testing.assert_close(found[:, 1], x[:, 1] * math.exp(0.5))
    wider = parameters.clone()
    wider[:, 1, 0] += 0.1
    noise = x[:, 0] - LIKELIHOOD.mean(parameters)[:, 0]
    scale = [(-3 + 5 * (p[:, 1, 0] + math.atanh(0.6)).tanh()) / 2 for p in (parameters, wider)]
    expected = LIKELIHOOD.mean(wider)[:, 0] + noise * (scale[1] - scale[0]).exp()
    torch.testing.assert_close(LIKELIHOOD.carried(x, parameters, wider)[:, 0], expected)
    others = [place for place in range(x.shape[1]) if place not in numbers]
    assert found[:, others].equal(LIKELIHOOD.mean(moved)[:, others])
