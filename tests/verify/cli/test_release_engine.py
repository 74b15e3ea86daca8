"""A release with the user's own engine: only a file that this engine runs right appears."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from helpers.command_line import refused, run

PROGRAM = """
import sys
import numpy as np
import reader_c
file, tokens, logits = sys.argv[1:]
with reader_c.open(file) as model:
    found = model.forward(np.fromfile(tokens, np.int32))
(found + np.float32(OFFSET)).astype(np.float32).tofile(logits)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("offset", "status"), [("0", 0), ("0.01", 1)])
def test_a_release_is_judged_by_the_user_s_engine_too(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, offset: str, status: int
) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    program, out = tmp_path / "engine.py", tmp_path / "m.bin"
    program.write_text(PROGRAM.replace("OFFSET", offset))
    command = f"{sys.executable} {program} {{file}} {{tokens}} {{logits}}"
    result = run(
        *("release", source, out, "--format", "v0", "--depth", "quick", "--windows", 1, "--engine-command", command)
    )
    assert result.returncode == status, result.stdout + result.stderr
    assert out.exists() == (status == 0)
    report = tmp_path / ("m.bin.report" if status == 0 else "m.bin.rejected") / "report.json"
    checks = {check["name"]: check["status"] for check in json.loads(report.read_text())["checks"]}
    assert checks["engine"] == ("fail" if status else "pass")


def test_an_engine_that_does_not_start_is_refused_before_the_export(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "m.bin"
    refused(run("release", source, out, "--format", "v0", "--engine", "none.so"), "none.so", "found no such file")
    assert not out.exists()
