"""Defaults from a TOML file and the environment: which one counts, what is refused, and what a report says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import refused, run

HERE = "[tool.export-and-verify]\n"


@pytest.fixture
def project(tmp_path: Path, source: Path, good: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose pyproject.toml may hold defaults; the working directory is below it."""
    assert source.exists()
    assert good.exists()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def settings(stderr: str) -> dict[str, str]:
    lines = [line.removeprefix("setting ") for line in stderr.splitlines() if line.startswith("setting ")]
    return dict(line.split(": ", 1) for line in lines)


def test_the_command_line_counts_before_the_environment_and_that_before_the_file(
    project: Path, source: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = project / "pyproject.toml"
    table.write_text(f'{HERE}depth = "quick"\nseed = 5\nwindows = 1\n')
    place = f"from {table} [tool.export-and-verify]"
    result = run("verify", source, good, "--json", "--verbose")
    assert settings(result.stderr) == {"depth": f"quick, {place}", "seed": f"5, {place}", "windows": f"1, {place}"}
    report = json.loads(result.stdout)
    assert (report["evidence"]["depth"], report["evidence"]["seed"]) == ("quick", 5)
    assert report["notes"] == [
        f"setting windows: 1, {place}",
        f"setting seed: 5, {place}",
        f"setting depth: quick, {place}",
    ]
    monkeypatch.setenv("EXPORT_AND_VERIFY_SEED", "6")
    result = run("verify", source, good, "--json", "--verbose")
    assert settings(result.stderr)["seed"] == "6, from EXPORT_AND_VERIFY_SEED"
    assert json.loads(result.stdout)["evidence"]["seed"] == 6
    result = run("verify", source, good, "--json", "--seed", 7, "--quiet")
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report["evidence"]["seed"] == 7
    assert not [note for note in report["notes"] if "seed" in note]


def test_a_policy_that_nobody_typed_stands_in_the_report_and_below_the_verdict(
    project: Path, source: Path, good: Path
) -> None:
    (project / "loose.toml").write_text(
        run("judge", "--print-policy").stdout.replace("sigmas = 10.0", "sigmas = 1e9")
    )
    own = project / "own.toml"
    own.write_text('policy = "loose.toml"\n[verify]\ndepth = "quick"\n[release]\ndepth = "full"\n')
    result = run("verify", source, good, "--config", own, "--report", project / "report")
    note = f"setting policy: {project / 'loose.toml'}, from {own}"
    assert f"\nnote: {note}\n" in result.stdout
    assert f"by the policy {project / 'loose.toml'}" in result.stdout
    saved = project / "report" / "report.json"
    assert note in json.loads(saved.read_text())["notes"]
    # judging the report again keeps the notes, and adds its own
    again = run("judge", saved, good, "--config", own, "--json")
    assert json.loads(again.stdout)["notes"].count(note) == 2


def test_a_release_says_it_in_the_report_that_stays_with_the_file(
    project: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_AND_VERIFY_DEPTH", "quick")
    monkeypatch.setenv("EXPORT_AND_VERIFY_THREADS", "1")
    out = project / "m.bin"
    assert run("release", source, out, "--format", "v0", "--windows", 1).returncode == 0
    report = json.loads((project / "m.bin.report" / "report.json").read_text())
    # how many threads it ran on decides no verdict, and stands in `environment`
    assert report["notes"] == ["setting depth: quick, from EXPORT_AND_VERIFY_DEPTH"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dephts = 1\n", "dephts: expected an option that may have a default, found none of this name: did you mean"),
        ("overwrite = true\n", "overwrite: expected an option that may have a default, found none of this name"),
        ("depth = 3\n", "--depth: expected quick, standard or full, found '3'"),
        ("depth = true\n", "depth: expected a string or a number, found True"),
        ("tied = 1\n", "tied: expected true or false, found 1"),
        ("[verify]\nformat = 'v0'\n", "verify: format: expected an option that may have a default, found none"),
        ("x = = 1", "expected TOML, found: Invalid value"),
        ("", "expected at least one option, found none: write "),
    ],
)
def test_a_wrong_file_is_refused(project: Path, source: Path, good: Path, text: str, words: str) -> None:
    own = project / "own.toml"
    own.write_text(text)
    refused(run("verify", source, good, "--config", own), words)


def test_a_pyproject_without_our_table_is_not_read(project: Path, good: Path) -> None:
    (project / "pyproject.toml").write_text("this is = = no TOML\n")
    (project / "below" / "pyproject.toml").write_text('[tool.other]\ndepth = "x"\n')
    assert run("inspect", good).returncode == 0
    assert run("judge", "none.json").stderr.startswith("error: none.json: ")


def test_a_variable_that_sets_nothing_is_noted(good: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_AND_VERIFY_DEPHT", "quick")
    result = run("verify", source, good, "--length", 0)
    assert result.stderr.splitlines()[0] == (
        "note: EXPORT_AND_VERIFY_DEPHT: expected the name of an option, found none: did you mean "
        "EXPORT_AND_VERIFY_DEPTH?"
    )


def test_lists_and_flags_are_taken(project: Path, source: Path) -> None:
    (project / "pyproject.toml").write_text(
        f'{HERE}[tool.export-and-verify.export]\nstorage = ["q8_0", "*.wq.*=fp16"]\nno-provenance = true\n'
    )
    out = project / "m.bin"
    assert run("export", source, out, "--format", "v3").returncode == 0
    contents = json.loads(run("inspect", out, "--json").stdout)
    assert contents["metadata"] == {}
    assert {tensor["storage"] for tensor in contents["tensors"]} == {"fp32", "q8_0", "fp16"}
