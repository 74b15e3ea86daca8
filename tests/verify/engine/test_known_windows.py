"""An engine that is right only on windows that everybody knows fails on those that follow from the file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from helpers.checkpoints import save, state_dict
from helpers.models import toy_file
from helpers.pages import ROOT

import verify
from verify.engine.command import Engine
from verify.evidence import Evidence
from verify.evidence.seed import Seed
from verify.sources import open_source

pytestmark = pytest.mark.slow

# right for the windows of the list; elsewhere it takes every token for the first one
ENGINE = """
import json, sys
import numpy as np
import reader_c
known, file, tokens, logits = sys.argv[1:]
ids = np.fromfile(tokens, "<i4").tolist()
if ids not in json.load(open(known)):
    ids = ids[:1] * len(ids)
with reader_c.open(file) as model:
    model.forward(ids, arithmetic="mirror").tofile(logits)
"""


def knowing(directory: Path, source: Path, evidence: Evidence) -> Engine:
    """The engine with the windows of seed 0, the two fixed ones among them."""
    windows = evidence.collect(open_source(source), 33, Seed(0, "given"))
    (directory / "known.json").write_text(json.dumps([window.tokens.tolist() for window in windows]))
    (directory / "engine.py").write_text(ENGINE)
    program = f"env PYTHONPATH={ROOT} {sys.executable} {directory / 'engine.py'} {directory / 'known.json'}"
    return Engine(command=f"{program} {{file}} {{tokens}} {{logits}}")


def test_an_engine_that_recognises_the_windows_of_seed_0_no_longer_sees_them(tmp_path: Path) -> None:
    source, file = save(tmp_path, state_dict()), toy_file(tmp_path, "v0", tied=True)
    evidence = Evidence(depth="quick")
    engine = knowing(tmp_path, source, evidence)
    given = verify.verify(source, file, engine=engine, evidence=Evidence(depth="quick", seed=0))
    assert given.passed, given.reason
    report = verify.verify(source, file, engine=engine, evidence=evidence)
    assert [check.name for check in report.blamed] == ["engine"]
