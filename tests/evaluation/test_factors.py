from typing import Any

import pytest
import torch

from mlvae import GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Factors, Subject


@pytest.fixture
def light(known_data):
    """Images whose second row, the style of the known model, starts with two factors."""

    def build(n, seed=0):
        data = known_data(n, seed=seed)
        values = data.x[:, 0, 1, 0].clone()
        factors = {"light": values, "side": (values > 0.5).float(), "nothing": torch.rand(n)}
        return GroupedData(data.x, data.groups.index, factors)

    return build


def scores(answer):
    """R2 or accuracy by code, factor and predictor."""
    return {
        (record["code"], record["factor"], record["predictor"]): record.get(
            "r2", record.get("accuracy")
        )
        for record in answer.metrics["records"]
    }


def test_a_factor_is_predicted_from_its_code_only(known, light):
    splits = Splits(light(400), unseen=light(200, seed=1))
    answer = Factors(categories=("side",), trees=50).ask(Subject(known, splits))
    found = scores(answer)
    for kind in ("forest", "linear"):
        assert found["style", "light", kind] > 0.95
        assert found["content", "light", kind] < 0.05
        assert found["style", "nothing", kind] < 0.05
        assert found["style", "side", kind] > 0.95
        assert found["content", "side", kind] < 0.65  # chance is one half
    assert answer.metrics["tested_on"] == "unseen"
    assert answer.figures[0].name == "factors" and "<svg" in (answer.figures[0].svg or "")


def test_categories_have_accuracy_and_bits(known, light):
    train, unseen = light(1000), light(500, seed=1)
    splits = Splits(train, unseen=unseen)
    answer = Factors(categories=("side",), trees=50).ask(Subject(known, splits))
    records = [record for record in answer.metrics["records"] if record["factor"] == "side"]
    bits = {(record["code"], record["predictor"]): record["bits"] for record in records}
    for kind in ("forest", "linear"):
        assert 0.85 < bits["style", kind] <= 1
        assert 0 <= bits["content", kind] < 0.05
    assert all(record["entropy_bits"] == pytest.approx(1, abs=0.01) for record in records)
    assert sum("side, forest (bits of" in column for column in answer.tables[0].columns) == 1
    assert all("bits" not in r for r in answer.metrics["records"] if r["factor"] == "light")
    # A factor of two columns is a category, also if ``categories`` does not contain it.
    for part in (train, unseen):
        part.factors = {"alphabet+drawer": part.factors["side"]}
    records = Factors(trees=5).ask(Subject(known, splits)).metrics["records"]
    assert all("bits" in record for record in records)


def test_observations_with_an_unknown_factor_are_left_out(known, light):
    train, test = light(100), light(50, seed=1)
    train.factors["light"][::2] = float("nan")
    test.factors["nothing"][:] = float("nan")
    answer = Factors(trees=5).ask(Subject(known, Splits(train, None, test)))
    assert {factor for _, factor, _ in scores(answer)} == {"light", "side"}
    assert answer.metrics["tested_on"] == "test"


def test_the_untrained_control_is_built_once(digits_subject, digits, monkeypatch):
    built = []
    untrained = Subject.untrained
    monkeypatch.setattr(Subject, "untrained", lambda self: built.append(1) or untrained(self))
    light = torch.rand(len(digits.test))
    data = GroupedData(digits.test.x, digits.test.groups.index, {"light": light})
    answer = Factors(trees=1, most=10).ask(Subject(digits_subject.model, Splits(data, None, data)))
    assert len(built) == 1
    assert {record["code"] for record in answer.metrics["records"]} >= {"content", "untrained"}


def test_without_known_factors_the_answer_has_a_reason_only(known_subject):
    answer = Factors().ask(known_subject)
    assert "known factors" in answer.summary[0] and not answer.metrics


def test_invalid_options_are_refused():
    invalid: dict[str, Any] = {"trees": 0, "most": 1, "categories": "side"}
    for name, value in invalid.items():
        with pytest.raises(InputError, match=rf"evaluation\.factors\.{name}"):
            Factors(**{name: value})


def test_factors_without_training_or_test_values_are_left_out(known, light):
    train, test = light(60), light(30, seed=1)
    train.factors["side"] = torch.ones(60)
    train.factors["nothing"][1:] = float("nan")
    del test.factors["light"]
    answer = Factors(categories=("side",), trees=5).ask(Subject(known, Splits(train, None, test)))
    assert "factor" in answer.summary[0] and not answer.metrics
