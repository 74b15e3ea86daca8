"""A report says where it was made."""

from __future__ import annotations

import platform

import pytest
import torch

import reader_c
from verify.report.environment import environment


@pytest.mark.parametrize(
    ("arithmetic", "path"),
    [("fast", reader_c.best_path()), ("mirror", reader_c.best_path()), ("transformers", "transformers")],
)
def test_versions_processor_threads_and_path(arithmetic: str, path: str) -> None:
    found = environment({"transformers": "5.0"}, arithmetic)
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["transformers"] == "5.0"
    assert found["cpu"]
    assert (found["threads"], found["arithmetic"], found["path"]) == (torch.get_num_threads(), arithmetic, path)
