"""Damaged files, and files that are not what they say: refused when they are opened, or caught at their place."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.defects import FILE_DEFECTS, Defect
from helpers.defects.judging import judged
from helpers.defects.kinds import TOYS, spread


@pytest.mark.parametrize("defect", FILE_DEFECTS, ids=str)
def test_a_damaged_file_is_refused_or_caught_where_it_is_damaged(tmp_path: Path, defect: Defect) -> None:
    for case in spread(defect, TOYS):
        found = judged(case, tmp_path)
        assert found.caught(defect) == list(defect.caught_by), (case, found)
        assert found.misplaced(defect) == [], (case, found)
        assert found.diagnosis == defect.diagnosis, case
        assert "config" in defect.caught_by or found.status("config") != "fail", case
