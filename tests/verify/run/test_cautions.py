"""Legal evidence and files that say or save little get a note, and others none."""

from __future__ import annotations

import numpy as np
import pytest

from verify.evidence import Window
from verify.run.cautions import FEW_PREDICTIONS, cautions


def window(origin: str, length: int) -> Window:
    return Window(np.zeros(length, np.int64), origin)


@pytest.mark.parametrize("origin", ["text", "tokens"])
def test_few_predictions_are_noted_by_their_number(origin: str) -> None:
    (note,) = cautions({}, [window(origin, 2), window("random", 500)])
    assert note == f"{origin}: its perplexity is over 1 prediction, which says little: give at least 101 tokens"
    (note,) = cautions({}, [window(origin, 50), window(origin, 51)])
    assert "over 99 predictions," in note
    assert cautions({}, [window(origin, FEW_PREDICTIONS + 1)]) == ()


def test_groups_of_one_are_noted() -> None:
    assert cautions({"group_size": 2}, [window("random", 2)]) == ()
    (note,) = cautions({"group_size": 1}, [])
    assert note == "group size 1: a weight takes 5 bytes, and 4 as float32: the file would be smaller as v1-fp32"
