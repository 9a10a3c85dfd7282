"""Tables of one's own that are hostile or damaged are refused before anything is expanded."""

import pytest
import yaml

from mlvae.commands import tables
from mlvae.errors import InputError

CELL = {"from": "likelihood.importance", "take": "mean"}
PANEL = {"title": "T", "cells": CELL, "rows": {"r": {}}, "columns": {"c": {}}}
TABLE = {
    "title": "Small",
    "seeds": [0],
    "variants": {"a": ["trainer.epochs=1"]},
    "evaluation": ["evaluation=[likelihood]"],
    "panels": [PANEL],
}
AXIS = {**CELL, "label": "L", "better": "higher"}
FIGURE = {"title": "F", "rows": {"r": {}}, "x": AXIS, "y": AXIS}


def read(tmp_path, text):
    path = tmp_path / "table.yaml"
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return tables.read(str(path))


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", ".x", "a/b", "a\\b", "a\0b", "x" * 300])
def test_names_of_variants_and_figures_stay_in_the_folder(tmp_path, name):
    with pytest.raises(InputError, match="variant"):
        read(tmp_path, {**TABLE, "variants": {name: []}})
    with pytest.raises(InputError, match="figure"):
        read(tmp_path, {**TABLE, "figures": {name: FIGURE}})
    assert read(tmp_path, {**TABLE, "figures": {"first-1": FIGURE}})["figures"]


def test_aliases_that_multiply_are_refused_before_they_expand(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(InputError, match="aliases"):
        read(tmp_path, "\n".join(lines))
    with pytest.raises(InputError, match="aliases"):
        read(tmp_path, "title: &a [*a]")
    with pytest.raises(InputError, match="YAML"):
        read(tmp_path, "title: " + "[" * 5000)
    references = {f"k{i}": f"${{k{i + 1}}}${{k{i + 1}}}" for i in range(40)} | {"k40": "x"}
    with pytest.raises(InputError, match="references"):
        read(tmp_path, {**TABLE, **references})


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "${oc.env:HOME,x}", "${${t}:HOME}"])
def test_the_environment_is_not_read(tmp_path, text):
    for changed in ({"title": text}, {"variants": {"a": [f"run={text}"]}}, {"evaluation": [text]}):
        with pytest.raises(InputError, match="HOME"):
            read(tmp_path, {**TABLE, "t": "oc.env", **changed})
    assert read(tmp_path, {**TABLE, "title": "${t}", "t": "of"})["title"] == "of"


def test_a_table_does_not_inherit_from_itself(tmp_path):
    with pytest.raises(InputError, match="of"):
        read(tmp_path, {**TABLE, "of": str(tmp_path / "table.yaml")})
