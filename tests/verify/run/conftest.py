"""Healthy directories, made once."""

from __future__ import annotations

import pytest
from helpers.hf_targets import SOURCES, Healthy, make


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Healthy:
    made = {kind: make(tmp_path_factory.mktemp(kind), kind) for kind in SOURCES}
    return {**made, "sharded": make(tmp_path_factory.mktemp("sharded"), "llama2c", sharded=True)}
