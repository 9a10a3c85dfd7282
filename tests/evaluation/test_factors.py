import pytest
import torch

from mlvae import GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Factors, Subject


@pytest.fixture
def light(known_data):
    """Images whose second row, which is the known model's style, begins with a factor."""

    def build(n, seed=0):
        data = known_data(n, seed=seed)
        values = data.x[:, 0, 1, 0].clone()
        factors = {"light": values, "side": (values > 0.5).float(), "nothing": torch.rand(n)}
        return GroupedData(data.x, data.groups.index, factors)

    return build


def scores(answer):
    return {
        (r["code"], r["factor"], r["predictor"]): r.get("r2", r.get("accuracy"))
        for r in answer.metrics["records"]
    }


def test_a_factor_is_found_where_it_is_and_only_there(known, light):
    splits = Splits(light(400), unseen=light(200, seed=1))
    answer = Factors(categories=("side",), trees=50).ask(Subject(known, splits))
    found = scores(answer)
    for kind in ("forest", "linear"):
        assert found["style", "light", kind] > 0.95
        assert found["content", "light", kind] < 0.05
        assert found["style", "nothing", kind] < 0.05
        assert found["style", "side", kind] > 0.95
        assert found["content", "side", kind] < 0.65  # of two
    assert answer.metrics["tested_on"] == "unseen"
    assert answer.figures[0].name == "factors" and "<svg" in answer.figures[0].svg


def test_categories_have_bits_beside_their_accuracy(known, light):
    splits = Splits(light(1000), unseen=light(500, seed=1))
    answer = Factors(categories=("side",), trees=50).ask(Subject(known, splits))
    of = [record for record in answer.metrics["records"] if record["factor"] == "side"]
    bits = {(record["code"], record["predictor"]): record["bits"] for record in of}
    for kind in ("forest", "linear"):
        assert 0.85 < bits["style", kind] <= 1
        assert 0 <= bits["content", kind] < 0.05
    assert all(record["entropy_bits"] == pytest.approx(1, abs=0.01) for record in of)
    assert sum("side, forest (bits of" in column for column in answer.tables[0].columns) == 1
    assert all("bits" not in r for r in answer.metrics["records"] if r["factor"] == "light")
    # The names of two columns together are no quantity, whoever forgets to say so.
    for part in (splits.train, splits.unseen):
        part.factors = {"alphabet+drawer": part.factors["side"]}
    records = Factors(trees=5).ask(Subject(known, splits)).metrics["records"]
    assert all("bits" in record for record in records)


def test_factors_that_are_not_known_of_all_are_predicted_where_they_are(known, light):
    train, test = light(100), light(50, seed=1)
    train.factors["light"][::2] = float("nan")
    test.factors["nothing"][:] = float("nan")
    answer = Factors(trees=5).ask(Subject(known, Splits(train, None, test)))
    assert {factor for _, factor, _ in scores(answer)} == {"light", "side"}
    assert answer.metrics["tested_on"] == "test"


def test_without_factors_it_says_so(known_subject):
    assert "Not asked" in Factors().ask(known_subject).summary[0]
    for options in ({"trees": 0}, {"most": 1}, {"categories": "side"}):
        with pytest.raises(InputError, match=r"evaluation\.factors"):
            Factors(**options)


def test_factors_of_which_nothing_can_be_learned_or_tested_are_left_out(known, light):
    train, test = light(60), light(30, seed=1)
    train.factors["side"] = torch.ones(60)
    train.factors["nothing"][1:] = float("nan")
    del test.factors["light"]
    answer = Factors(categories=("side",), trees=5).ask(Subject(known, Splits(train, None, test)))
    assert "Not asked: no factor is known of both" in answer.summary[0] and not answer.metrics
