"""Fixtures of the tests of engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.remembered_references import Remembered


@pytest.fixture(scope="module")
def remembered_references() -> Iterator[None]:
    """The searches of a module share the logits of what they try."""
    with pytest.MonkeyPatch.context() as patch:
        Remembered().install(patch)
        yield
