"""The user's engine on trial: a healthy one passes, a wrong one fails with what it does, and nothing that an engine
does is more than a verdict."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.checkpoints import save
from helpers.command_line import refused, run
from helpers.defects.engine import ENGINE_DEFECTS, Patch
from helpers.engines import library, small, upstream_command
from helpers.faulty_engines import FLOAT_FAULTS
from helpers.models import arrays, config

import exporter
import verify
from verify.checks.policy import DEFAULT_POLICY
from verify.engine.command import Engine, EngineFailedError
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.judge_report import judge
from verify.report.document import digest_of_report
from verify.report.model import Report
from verify.report.saved import read_report

pytestmark = pytest.mark.slow

EVIDENCE = Evidence(depth="quick", windows=2, length=24)
MODEL = config(dim=48, hidden_dim=48, n_heads=6, n_kv_heads=3, max_seq_len=33)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects of what has no mistake."""
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Path:
    return library(tmp_path_factory.mktemp("mine"), kept)


def files(directory: Path, format_name: str, **changes: object) -> tuple[Path, Path]:
    """A source, v3 in float32 so that it can say anything, and the file on trial."""
    model = dataclasses.replace(MODEL, **changes)  # type: ignore[arg-type]
    checkpoint = exporter.Checkpoint.from_arrays(model, arrays(model))
    source, file = directory / "source.bin", directory / "model.bin"
    exporter.export(checkpoint, source, format="v3", overwrite=True)
    storage = "q8_0" if format_name == "v3-q8_0" else "source"
    exporter.export(checkpoint, file, format=format_name[:2], storage=storage, group_size=16, overwrite=True)
    return source, file


def judged(source: Path, file: Path, engine: Engine, evidence: Evidence = EVIDENCE) -> Report:
    return verify.verify(source, file, engine=engine, evidence=evidence)


def patch_of(name: str) -> Patch:
    """The catalogue's mistake of this name."""
    (found,) = (defect.seed for defect in ENGINE_DEFECTS if defect.name == name)
    assert isinstance(found, Patch)
    return found


def of_engine(report: Report) -> tuple[str, str]:
    (check,) = (check for check in report.checks if check.name == "engine")
    assert [c.name for c in report.checks].index("engine") == 5
    return check.status, check.detail


@pytest.mark.parametrize("format_name", ["v0", "v2", "v3-q8_0"])
def test_the_documented_example_passes_with_every_bit(tmp_path: Path, mine: Path, format_name: str) -> None:
    report = judged(*files(tmp_path, format_name), Engine(mine))
    assert report.passed, report.reason
    assert report.engine is not None
    assert report.engine.same_bits == report.engine.logits == 4 * 24 * MODEL.vocab_size
    assert "100.0% of its logits have the C reader's bits" in of_engine(report)[1]
    assert report.coverage is not None
    assert report.coverage.engine_sequences == report.engine.sequences_per_process == 3
    path = tmp_path / "report.json"
    path.write_text(report.to_json())
    assert read_report(path).to_json() == report.to_json()
    # a report of an earlier version does not have the field
    document = json.loads(report.to_json())
    assert document["engine"].pop("sequences_per_process") == 3
    document["digest"] = digest_of_report(document)
    path.write_text(json.dumps(document))
    earlier = read_report(path).engine
    assert earlier is not None
    assert earlier.sequences_per_process == 1


def test_upstreams_engine_passes_by_a_command(tmp_path: Path) -> None:
    """PyPI's llamac2py: compiled by others with other flags, reading RoPE from the file's tables. It has no GQA."""
    source, file = files(tmp_path, "v0", n_kv_heads=6)
    report = judged(source, file, Engine(command=upstream_command(tmp_path)))
    assert report.passed, report.reason
    assert report.engine is not None
    assert report.engine.command is not None
    assert report.engine.sequences_per_process == 1


# the catalogue's mistake -> the hint that must be given, and the file that shows it
MISTAKES = {
    "theta 1e4 for the header's 5e5": ("rope-theta", "v3", {"rope_theta": 5e5}),
    "theta 1e5 for 1e4": ("rope-theta", "v0", {}),
    "eps 1e-6 for 1e-5": ("norm-eps", "v0", {}),
    "half-split rotation": ("rope-half-split", "v2", {}),
    "rotated the other way": ("rope-backwards", "v0", {}),
    "kv head = head % n_kv_heads": ("kv-heads", "v2", {}),
    "kv head off by one": ("kv-heads", "v0", {}),
    "scores not divided by sqrt(head_dim)": ("score-scale", "v0", {}),
    "gate and up taken for each other": ("gate-up-swapped", "v2", {}),
    "the last 8 inputs of each row dropped": ("last-inputs-dropped", "v0", {}),
    "gelu for silu": ("activation", "v0", {}),
    "tied classifier used on an untied model": ("tied-classifier", "v0", {}),
    "norm weight not applied": ("norm-weights", "v0", {}),
    "biases left out": ("bias-dropped", "v3", {"qkv_bias": True}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_compiled_in_fails_and_is_told(tmp_path: Path, kept: Path, name: str) -> None:
    hint, format_name, changes = MISTAKES[name]
    patch = patch_of(name)
    engine = Engine(library(tmp_path / "engine", kept, patch))
    report = judged(*files(tmp_path, format_name, **changes), engine)
    status, detail = of_engine(report)
    assert status == "fail"
    assert [check.name for check in report.checks if check.status == "fail"] == ["engine"]
    assert report.engine is not None
    assert report.engine.hint_name == hint, detail
    assert report.engine.first is not None
    assert "it gives the logits of an engine that" in detail


def test_a_mistake_that_nobody_knows_is_placed(tmp_path: Path, kept: Path) -> None:
    """A softmax by a fast exponential."""
    patch = FLOAT_FAULTS["softmax by a fast exponential"]
    report = judged(*files(tmp_path, "v0"), Engine(library(tmp_path / "engine", kept, patch)))
    status, detail = of_engine(report)
    assert status == "fail"
    assert report.engine is not None
    assert report.engine.hint == ""
    (place,) = report.engine.places
    assert place.part == "attention-scores"
    assert f"copies of the file with zeros show where it is wrong: {place.words}" in detail
    path = tmp_path / "report.json"
    path.write_text(report.to_json())
    again = read_report(path).engine
    assert again is not None
    assert again.places == report.engine.places
    # the first position attends to itself alone, whatever its exponential is
    assert report.engine.first is not None
    assert report.engine.first["position"] > 0


def test_a_theta_that_no_program_has_built_in_is_read_off(tmp_path: Path, kept: Path) -> None:
    ((theta, _),) = patch_of("theta 1e5 for 1e4").pieces
    patch = Patch(((theta, "unscaled(3e4,"),))
    report = judged(*files(tmp_path, "v0"), Engine(library(tmp_path / "engine", kept, patch)))
    assert of_engine(report)[0] == "fail"
    assert report.engine is not None
    assert report.engine.hint == (
        "It gives the logits of an engine that computes RoPE with theta 30000 instead of 10000."
    )
    # RoPE does not rotate the first position, whatever theta is
    assert report.engine.first is not None
    assert report.engine.first["position"] > 0


@pytest.fixture(scope="module")
def mine_int8(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Path:
    return library(tmp_path_factory.mktemp("int8"), kept, activations="q8")


@pytest.mark.parametrize("format_name", ["v2", "v3-q8_0"])
def test_an_engine_with_int8_activations_is_judged_by_the_readers_own(
    tmp_path: Path, mine_int8: Path, format_name: str
) -> None:
    report = judged(*files(tmp_path, format_name), Engine(mine_int8, activations="q8"))
    status, detail = of_engine(report)
    assert (status, report.passed) == ("pass", True), detail
    assert "against the C reader's with int8 activations: equal bits; 100.0% of its logits" in detail
    assert report.engine is not None
    assert report.engine.metrics is None


def test_float_activations_are_no_int8_activations(tmp_path: Path, mine: Path) -> None:
    report = judged(*files(tmp_path, "v2"), Engine(mine, activations="q8"))
    status, detail = of_engine(report)
    assert status == "fail"
    assert "short sequences differ more often than rounding turns an activation (-log10 p " in detail
    assert report.engine is not None
    assert report.engine.first == {"window": 0, "position": 0}
    assert report.engine.hint_name == "int8-missing"
    what = "multiplies by float activations instead of rounding them to int8"
    assert report.engine.hint == f"It gives the logits of an engine that {what}."


def test_a_hint_names_what_an_engine_with_int8_activations_does(tmp_path: Path, kept: Path) -> None:
    patch = patch_of("gate and up taken for each other")
    engine = Engine(library(tmp_path / "engine", kept, patch, activations="q8"), activations="q8")
    report = judged(*files(tmp_path, "v2"), engine)
    assert of_engine(report)[0] == "fail"
    assert report.engine is not None
    assert report.engine.hint_name == "gate-up-swapped"


def test_judge_says_of_an_engine_with_int8_activations_what_verify_says(tmp_path: Path, mine: Path) -> None:
    engine = Engine(mine, activations="q8")
    source, file = files(tmp_path, "v2")
    lax = tmp_path / "lax.toml"
    lax.write_text(re.sub(r"(?m)^noise_sigmas = .*$", "noise_sigmas = 1e6", DEFAULT_POLICY.read_text()))
    by_lax, by_default = (
        verify.verify(source, file, policy, engine=engine, evidence=EVIDENCE) for policy in (lax, None)
    )
    assert (of_engine(by_lax)[0], of_engine(by_default)[0]) == ("pass", "fail")
    path = tmp_path / "report.json"
    path.write_text(by_lax.to_json())
    again = judge(path)
    (check,) = (check for check in again.checks if check.name == "engine")
    (expected,) = (check for check in by_default.checks if check.name == "engine")
    assert (again.verdict, check.status) == ("fail", "fail")
    assert (check.observed, check.limit) == (expected.observed, expected.limit)


# what forward() does -> words of the reason
ENDS = {
    "*(volatile int *)0 = 1;": f"ended by {signal.Signals.SIGSEGV.name}",
    "abort();": "ended by SIGABRT",
    'fprintf(stderr, "no such\\ntensor\\033[2J\\n"); exit(3);': "ended with status 3: tensor?[2J",
    "exit(0);": "found 0 bytes",
    "return 0;": "found 0 bytes",
    "if (pos == 2) return 0;": "expected 36 x 29 float32 logits (4176 bytes), found 232 bytes",
    "logits[3] = NAN;": "24 of 696 logits are not finite (window 0, position 0)",
    "if (pos == 23) logits[3] = NAN;": "1 of 696 logits is not finite (window 0, position 23)",
    "logits[0] = INFINITY;": "are not finite (window",
    "while (1) {}": "it took more than 2 seconds",
    "while (1) sleep(1);": "it took more than 2 seconds",
    "raise(SIGSTOP);": "it took more than 2 seconds",
}


@pytest.mark.parametrize("body", ENDS)
def test_whatever_an_engine_does_is_a_verdict(tmp_path: Path, body: str) -> None:
    source, file = files(tmp_path, "v0")
    report = judged(source, file, Engine(small(tmp_path, body), seconds=2.0))
    status, detail = of_engine(report)
    assert status == "fail"
    assert ENDS[body] in detail
    assert detail.isprintable()
    assert report.to_json()


def test_what_an_engine_prints_stays_with_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, file = files(tmp_path, "v0")
    engine = small(tmp_path, 'for (int i = 0; i < 100000; i++) puts("noise");')
    judged(source, file, Engine(engine))
    assert "noise" not in "".join(capfd.readouterr())


def test_memory_is_limited(tmp_path: Path) -> None:
    engine = small(tmp_path, "char *p = malloc(3ll << 30); if (!p) exit(9); p[1 << 20] = 1;")
    tokens = np.zeros(2, np.int64)
    with pytest.raises(EngineFailedError, match="ended with status 9"):
        Engine(engine, memory=2 << 30).logits(str(engine), [tokens], 8)
    assert Engine(engine, memory=8 << 30).logits(str(engine), [tokens], 8)[0].shape == (2, 8)


def test_what_an_engine_writes_is_limited(tmp_path: Path) -> None:
    body = "for (;;) if (fwrite(logits, 4, 4096, stdout) < 4096) exit(7);"
    with pytest.raises(EngineFailedError, match=r"status 7|SIGXFSZ"):
        Engine(small(tmp_path, body), seconds=60).logits("none", [np.zeros(2, np.int64)], 8)


def test_what_an_engine_starts_is_ended_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    body = f'if (!fork()) {{ for (;;) {{ FILE *f = fopen("{mark}", "w"); fclose(f); usleep(20000); }} }}'
    Engine(small(tmp_path, body)).logits("none", [np.zeros(1, np.int64)], 8)
    time.sleep(0.1)
    mark.unlink(missing_ok=True)
    time.sleep(0.3)
    assert not mark.exists()


def program(directory: Path, text: str) -> str:
    path = directory / "engine.py"
    path.write_text(f"import sys\nfile, tokens, logits = sys.argv[1:]\n{text}\n")
    return f"{sys.executable} -S {path} {{file}} {{tokens}} {{logits}}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it wrote no logits"),
        (
            "open(logits, 'wb').write(bytes(4 * 24 * 29 - 1))",
            "expected 24 x 29 float32 logits (2784 bytes), found 2783",
        ),
        ("open(logits, 'wb').write(bytes(4 * 24 * 29 + 4))", "found 2788 bytes"),
        ("sys.exit('out of tokens')", "ended with status 1: out of tokens"),
        ("import os; os.mkdir(logits)", "found no file"),
    ],
)
def test_a_program_that_gives_something_else_fails(tmp_path: Path, text: str, reason: str) -> None:
    report = judged(*files(tmp_path, "v0"), Engine(command=program(tmp_path, text)))
    status, detail = of_engine(report)
    assert status == "fail"
    assert reason in detail


# what the engine makes of its own file in each of its runs: one for each window, and one more of a wrong window
REPLACED = {
    "written over": "open(own, 'a').write('# another')",
    "another in its place": "open(own + '.n', 'w').write('#!/bin/true'); os.chmod(own + '.n', 0o755); "
    "os.replace(own + '.n', own)",
    "gone after the last": "open(own + '.n', 'a').write('x'); os.path.getsize(own + '.n') < 5 or os.remove(own)",
}


@pytest.mark.parametrize("change", REPLACED)
def test_an_engine_that_changed_while_it_was_on_trial_is_not_judged(tmp_path: Path, change: str) -> None:
    engine = tmp_path / "mine"
    end = f"import os; own = sys.argv[0]\n{REPLACED[change]}"
    program(tmp_path, f"open(logits, 'wb').write(bytes(4 * 24 * 29))\n{end}")
    engine.write_text(f"#!{sys.executable} -S\n{(tmp_path / 'engine.py').read_text()}")
    engine.chmod(0o755)
    source, file = files(tmp_path, "v0")
    with pytest.raises(CannotJudgeError, match=r"changed during its trial|expected a readable engine"):
        judged(source, file, Engine(command=f"{engine} {{file}} {{tokens}} {{logits}}"))


def test_an_engine_is_named_by_what_it_was_before_it_ran(tmp_path: Path, mine: Path) -> None:
    report = judged(*files(tmp_path, "v0"), Engine(mine))
    assert report.engine is not None
    assert report.engine.sha256 == hashlib.sha256(mine.read_bytes()).hexdigest()


def test_zeros_are_logits_and_are_judged(tmp_path: Path) -> None:
    text = "open(logits, 'wb').write(bytes(4 * 24 * 29))"
    report = judged(*files(tmp_path, "v0"), Engine(command=program(tmp_path, text)))
    assert of_engine(report)[0] == "fail"
    assert report.engine is not None
    assert report.engine.first == {"window": 0, "position": 0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "none.so"], ["none.so: expected an engine's shared library, found no such file"]),
        (["--engine-command", ""], ["expected a program and its arguments, found nothing"]),
        (["--engine-command", "'"], ["expected words that a shell can split"]),
        (["--engine-command", "nosuchprogram {file} {tokens} {logits}"], ["found 'nosuchprogram'"]),
        (["--engine-command", "cat {file} {tokens}"], ["expected {logits} in it"]),
        (["--engine", "x", "--engine-command", "y"], ["found both or none"]),
        (["--engine", "MINE", "--engine-timeout", "0"], ["expected seconds above 0, found 0"]),
        (["--engine", "MINE", "--engine-timeout", "nan"], ["expected seconds above 0, found nan"]),
        (["--engine", "MINE", "--engine-memory", "much"], ["expected a size as 4GiB or 500MB, found 'much'"]),
        (["--engine", "MINE", "--engine-memory", "0"], ["expected a size as 4GiB or 500MB, found '0'"]),
        (["--engine", "MINE", "--engine-activations", "q4"], ["expected fp32 or q8, found 'q4'"]),
        # found when the engine first runs, after other stages have shown their progress
        (["--engine", "SOURCE", "--quiet"], ["engine: expected a program that starts, found"]),
        (
            ["--engine", "/lib/x86_64-linux-gnu/libm.so.6", "--quiet"],
            ["expected a program that starts", "build_transformer"],
        ),
    ],
)
def test_what_cannot_be_run_is_refused(
    tmp_path: Path, mine: Path, arguments: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, file = files(tmp_path, "v0")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    given = [{"MINE": mine, "SOURCE": source}.get(word, word) for word in arguments]
    refused(run("verify", source, file, "--depth", "quick", *given), *words)
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_line_says_what_the_engine_does(tmp_path: Path, kept: Path) -> None:
    patch = patch_of("gelu for silu")
    engine = library(tmp_path / "engine", kept, patch)
    source, file = files(tmp_path, "v0")
    found = run("verify", source, file, "--depth", "quick", "--engine", engine, "--engine-memory", "8GiB", "--json")
    assert found.returncode == 1
    said = json.loads(found.stdout)
    assert said["engine"]["library"] == str(engine)
    assert said["engine"]["hint"] == "It gives the logits of an engine that computes gelu instead of silu."


def test_an_engine_is_not_run_where_the_file_is_of_another_shape(tmp_path: Path) -> None:
    source, _ = files(tmp_path, "v0")
    other = tmp_path / "other"
    other.mkdir()
    _, file = files(other, "v0", n_layers=1)
    report = judged(source, file, Engine(command=program(tmp_path, "")))
    assert of_engine(report)[0] == "skipped"
    assert not report.passed


def test_a_llama2c_checkpoint_can_be_the_source_too(tmp_path: Path, mine: Path) -> None:
    from helpers.checkpoints import state_dict

    source, file = save(tmp_path, state_dict()), tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), file, format="v2", group_size=8)
    assert judged(source, file, Engine(mine)).passed


def test_an_engine_is_a_library_or_a_command() -> None:
    with pytest.raises(CannotJudgeError, match="both or none"):
        Engine()
