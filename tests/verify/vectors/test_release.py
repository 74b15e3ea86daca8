"""Golden vectors that a release writes: with the file, or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.checkpoints import save, state_dict
from helpers.command_line import refused, run

import verify
from verify.checks.metrics import digest_of
from verify.vectors import read_vectors

QUICK = ("--depth", "quick", "--windows", "2", "--length", "4")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path, state_dict())


def names(directory: Path, model: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {model.name}


@pytest.mark.parametrize("format_name", ["v2", "v3"])
def test_an_engine_passes_the_vectors_of_a_released_file(tmp_path: Path, model: Path, format_name: str) -> None:
    out, vectors = tmp_path / "out.bin", tmp_path / "out.vec"
    command = ("release", model, out, "--format", format_name, "--vectors", vectors, "--max-seq-len", 8, *QUICK)
    assert run(*command).returncode == 0
    assert names(tmp_path, model) == {"out.bin", "out.bin.report", "out.vec"}
    checked = run("check-vectors", vectors, out)
    assert checked.returncode == 0
    assert checked.stdout.startswith("pass: ")
    # the position that the verdict found worst is among them
    path, again = tmp_path / "out.bin.report" / "report.json", tmp_path / "again.vec"
    report = verify.read_report(path)
    (at,) = [check.where for check in report.checks if check.name == "execution"]
    made = run("vectors", model, out, again, "--worst-of", path)
    number = re.search(
        rf"^worst in the report: window ([0-9]+), position {at['position']}$", made.stdout, re.MULTILINE
    )
    assert number
    assert again.read_bytes() == vectors.read_bytes()
    window = read_vectors(vectors).windows[int(number[1])]
    assert digest_of(window.tokens) == report.windows[at["window"]].tokens_sha256
    assert at["position"] in window.at["position"]
    refused(run(*command), f"{out}: OUT: expected nothing there, found a file")


def test_a_file_that_fails_has_no_vectors(tmp_path: Path, model: Path) -> None:
    policy = tmp_path / "strict.toml"
    policy.write_text(
        f"{run('verify', '--print-policy').stdout}\n".replace("[v2]", "[v2]\nquantization.kl_mean = 0\n")
    )
    out, vectors = tmp_path / "out.bin", tmp_path / "out.vec"
    vectors.write_bytes(b"mine")
    command = ("release", model, out, "--format", "v2", "--vectors", vectors, "--overwrite", "--policy", policy)
    assert run(*command, *QUICK).returncode == 1
    assert (vectors.read_bytes(), out.exists()) == (b"mine", False)


def test_vectors_that_make_no_sense_are_refused_before_any_work(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out.bin"
    own = "expected a path of their own, found that of another output"
    refused(run("release", model, out, "--format", "v2", "--vectors", out, *QUICK), f"{out}: vectors: {own}")
    directory = run("release", model, out, "--format", "hf", "--vectors", tmp_path / "v", *QUICK)
    refused(directory, "vectors: expected none for hf, as they are of a .bin file")
    over = run("release", model, out, "--format", "v2", "--vectors", model, "--overwrite", *QUICK)
    refused(over, f"{model}: ")
    assert names(tmp_path, model) == set()


def test_neither_file_appears_where_the_weights_cannot(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("verify.release_file.publish", failing)
    with pytest.raises(OSError, match="no space left on device"):
        verify.release(model, tmp_path / "out.bin", format="v2", vectors=tmp_path / "v", depth="quick", windows=2)
    assert names(tmp_path, model) == set()
