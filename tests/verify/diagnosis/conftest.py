"""Healthy models for the diagnosis of operations."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.mistake_world import MODELS, World


@pytest.fixture(params=MODELS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, MODELS[request.param])
