"""The GitHub Action and the pre-commit hook run the gate and hand its verdict on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.signing_keys import make_keys

from verify.report.files import NAMES, PLACES

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
SCRIPT = ROOT / ".ci" / "action.sh"


def act(directory: Path, **inputs: object) -> tuple[int, str, str, str]:
    """Exit status, verdict, job summary and standard output of the action's step with these inputs."""
    (step,) = (step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")
    output, summary = directory / "output", directory / "step_summary"
    output.write_text("")
    summary.write_text("")
    given = {name: str(inputs.get(name, values.get("default", ""))) for name, values in ACTION["inputs"].items()}
    variables = {
        key: given[re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value)[1]] for key, value in step["env"].items()
    }
    # as the action's own environment has it: the command before all others
    command = directory / "bin" / "export-and-verify"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m verify "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        **variables,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(summary),
    }
    result = subprocess.run(
        ["bash", SCRIPT], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    (verdict,) = re.findall(r"^verdict=(.*)$", output.read_text(), re.MULTILINE)
    return result.returncode, verdict, summary.read_text(), result.stdout + result.stderr


@pytest.mark.slow
def test_a_pass_a_fail_and_bad_input_are_three_verdicts(tmp_path: Path, source: Path, good: Path) -> None:
    status, verdict, summary, _ = act(tmp_path, source=source, file=good, depth="quick")
    assert (status, verdict) == (0, "pass")
    assert summary.startswith("## ✅ PASS")
    content = bytearray(good.read_bytes())
    content[-1] ^= 1
    good.write_bytes(content)
    status, verdict, summary, _ = act(tmp_path, source=source, file=good, depth="quick")
    assert (status, verdict) == (1, "fail")
    assert summary.startswith("## ❌ FAIL")
    good.write_bytes(content[:-1])
    status, verdict, summary, said = act(tmp_path, source=source, file=good, depth="quick")
    assert (status, verdict, summary) == (2, "error", "")
    assert "error: " in said


@pytest.mark.slow
def test_a_release_appears_with_its_report_where_it_is_asked_for(tmp_path: Path, source: Path) -> None:
    inputs = {"source": source, "out": tmp_path / "out.bin", "format": "v2", "depth": "quick"}
    status, verdict, _, _ = act(tmp_path, **inputs, report=tmp_path / "a report", arguments="--group-size\n8")
    assert (status, verdict) == (0, "pass")
    assert (tmp_path / "out.bin").exists()
    assert json.loads((tmp_path / "a report" / "report.json").read_text())["config"]["group_size"] == 8


@pytest.mark.slow
def test_only_what_was_judged_is_a_pass(tmp_path: Path, source: Path, good: Path) -> None:
    good.write_bytes(good.read_bytes()[:-1])
    for inputs in (
        {"file": "--print-policy"},
        {"source": "--help"},
        {"arguments": "--help"},
        {"arguments": "--print-policy"},
        {"file": "", "out": "out.bin", "format": "v2", "arguments": "--print-policy"},
        {"arguments": "--resume"},
    ):
        status, verdict, summary, _ = act(tmp_path, **{"source": source, "file": good, "depth": "quick", **inputs})
        assert (status, verdict, summary) == (2, "error", "")


@pytest.mark.slow
def test_the_report_is_this_run_s_or_none(tmp_path: Path, source: Path, good: Path) -> None:
    report = tmp_path / "-r"
    inputs = {"source": source, "file": good, "depth": "quick", "report": report.name}
    arguments = "--windows\n2\n--report=elsewhere"
    assert act(tmp_path, **inputs, arguments=arguments)[:2] == (0, "pass")
    assert {path.name for path in report.iterdir()} == set(NAMES)
    good.write_bytes(good.read_bytes()[:-1])
    assert act(tmp_path, **inputs)[:2] == (2, "error")
    assert list(report.iterdir()) == []


@pytest.mark.slow
def test_a_key_signs_the_report_and_the_next_run_without_one_leaves_no_signature(
    tmp_path: Path, source: Path, good: Path
) -> None:
    make_keys(tmp_path, "a key")
    inputs = {"source": source, "file": good, "depth": "quick", "report": tmp_path / "r"}
    assert act(tmp_path, **inputs, sign_key=tmp_path / "a key.pem")[:2] == (0, "pass")
    assert {path.name for path in (tmp_path / "r").iterdir()} == set(PLACES)
    good.write_bytes(good.read_bytes()[:-1])
    assert act(tmp_path, **inputs)[:2] == (2, "error")
    assert list((tmp_path / "r").iterdir()) == []


@pytest.mark.parametrize("role", ["source", "file", "policy", "baseline", "sign_key", "arguments"])
def test_an_input_is_no_earlier_report(tmp_path: Path, source: Path, good: Path, role: str) -> None:
    report = tmp_path / "r"
    report.mkdir()
    for name in PLACES:
        (report / name).write_bytes(b"somebody's")
        text = f"--tokens={report / name}" if role == "arguments" else report / name
        inputs = {"source": source, "file": good, "report": report, role: text}
        status, verdict, _, said = act(tmp_path, **inputs)
        assert (status, verdict) == (2, "error")
        assert f"an input as its {name}" in said
        assert (report / name).read_bytes() == b"somebody's"


def test_an_input_is_never_run(tmp_path: Path, source: Path) -> None:
    hostile = f"none.bin; touch {tmp_path / 'run'} $(touch {tmp_path / 'run'})"
    status, verdict, _, _ = act(tmp_path, source=source, file=hostile, arguments=hostile)
    assert (status, verdict) == (2, "error")
    assert not (tmp_path / "run").exists()


def test_what_contradicts_itself_is_refused(tmp_path: Path, source: Path) -> None:
    for inputs, words in (
        ({}, "found neither"),
        ({"file": "a", "out": "b", "format": "v2"}, "found both"),
        ({"out": "b"}, "expected a format"),
    ):
        status, verdict, _, said = act(tmp_path, source=source, **inputs)
        assert (status, verdict) == (2, "error")
        assert "::error::" in said
        assert words in said


def test_inputs_reach_the_script_as_variables_alone() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]


def test_the_hook_runs_a_command_that_exists() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, command = hook["entry"].split()
    assert program == "export-and-verify"
    run = subprocess.run([sys.executable, "-m", "verify", command, "--help"], capture_output=True, check=False)
    assert run.returncode == 0
