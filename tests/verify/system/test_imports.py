"""Imports within the block are counted, and find what they find without it."""

from __future__ import annotations

import importlib
import sys

import pytest

from verify.system.imports import counted_imports
from verify.system.pulse import IMPORTED, heard_by


def test_each_new_module_is_a_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(sys.meta_path)
    heard = list[float]()
    with heard_by(heard.append), counted_imports():
        importlib.import_module("colorsys")
        heard.clear()
        importlib.import_module("colorsys")
        assert heard == []
        monkeypatch.delitem(sys.modules, "colorsys")
        assert importlib.import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0, 0, 0)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("no_module_of_this_name")
    assert heard == [IMPORTED, IMPORTED]
    assert sys.meta_path == before
