"""Values of rows in the order of their index, of objects of pandas."""

import numpy as np
import pandas as pd
import pytest

from mlvae import GroupedData, InputError, encode
from mlvae.evaluation import association
from mlvae.models import MLVAE
from mlvae.networks import MLP

FRAME = pd.DataFrame({"x": [0.1, 0.2, 0.3, 0.4]}, index=["p", "q", "r", "s"])
LABELS = pd.Series([0, 0, 1, 1], index=FRAME.index)
TURNED = LABELS.iloc[::-1]
MODEL = MLVAE((1,), content_dim=2, style_dim=2, network=MLP((4,)))

CALLS = {
    "from_frame": lambda labels: GroupedData.from_frame(FRAME, labels),
    "from_frame, by name": lambda labels: GroupedData.from_frame(FRAME, {"donor": labels}),
    "group": lambda labels: GroupedData(FRAME, labels),
    "groups": lambda labels: GroupedData(FRAME, groups=pd.DataFrame({"donor": labels})),
    "factors": lambda labels: GroupedData(FRAME, [0] * 4, {"age": labels}),
    "given": lambda labels: GroupedData(FRAME, [0] * 4, given={"label": labels}),
    "names": lambda labels: GroupedData(FRAME, [0] * 4, names=labels),
    "encode": lambda labels: encode(MODEL, FRAME, labels),
    "association": lambda labels: association(FRAME, labels, folds=2, permutations=2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_values_with_the_index_of_the_rows_in_another_order_are_refused(call):
    call(LABELS)
    with pytest.raises(InputError, match=r"order of .*\.loc\[.*\.index\].*to_numpy\(\)"):
        call(TURNED)


def test_values_without_an_index_and_values_of_another_index_are_taken_by_position():
    for labels in (TURNED.to_numpy(), TURNED.reset_index(drop=True), TURNED.tolist()):
        assert GroupedData.from_frame(FRAME, labels).labels.tolist() == [1, 1, 0, 0]


def test_a_subclass_of_a_frame_keeps_its_index():
    class Measured(pd.DataFrame):
        """A frame as other libraries derive it."""

    data = GroupedData.from_frame(Measured(FRAME), LABELS)
    assert data.names.tolist() == FRAME.index.tolist()
    with pytest.raises(InputError, match="order"):
        GroupedData.from_frame(Measured(FRAME), TURNED)


def test_rows_of_several_levels_keep_their_index_in_codes():
    index = pd.MultiIndex.from_product([["ann", "bob"], [1, 2]], names=["donor", "visit"])
    style = encode(MODEL, FRAME.set_index(index), [0, 0, 1, 1]).style
    pd.testing.assert_index_equal(style.index, index)
    assert np.isfinite(style.to_numpy()).all()
