"""Which windows a verdict feeds, and what it says that they covered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import huggingface
from helpers.checkpoints import save, state_dict
from helpers.models import arrays, config, toy_file

import exporter
import reader_c
import verify
from verify.checks.policy import DEFAULT_POLICY
from verify.errors import CannotJudgeError
from verify.evidence.coverage import Coverage
from verify.evidence.seed import choose_seed
from verify.judge_report import judge
from verify.report.document import digest_of_report
from verify.report.model import Report


def judged(source: Path, file: Path, **options: Any) -> Report:
    return verify.verify(source, file, evidence=verify.Evidence(depth="quick"), **options)


def random_digests(report: Report) -> list[str]:
    return [window.tokens_sha256 for window in report.windows if window.origin == "random"]


def as_file(directory: Path, report: Report) -> Path:
    path = directory / "report.json"
    path.write_text(report.to_json())
    return path


def demanding(directory: Path, table: str) -> Path:
    path = directory / "demanding.toml"
    path.write_text(f"{DEFAULT_POLICY.read_text()}\n[v0.coverage]\n{table}\n")
    return path


def test_the_same_file_gives_the_same_windows_and_one_changed_byte_gives_others(tmp_path: Path) -> None:
    source, file = save(tmp_path, state_dict()), toy_file(tmp_path, "v0", tied=True)
    first, again = judged(source, file), judged(source, file)
    assert first.to_json() == again.to_json()
    seed = choose_seed(None, first.file["sha256"], None)
    assert (first.evidence["seed"], first.evidence["seed_from"]) == (seed.number, "file")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    changed = judged(source, file)
    assert len(random_digests(changed)) == len(random_digests(first)) == 4
    assert not set(random_digests(changed)) & set(random_digests(first))


def test_a_directory_s_windows_follow_from_its_digest(tmp_path: Path) -> None:
    source = huggingface.save(tmp_path / "source", huggingface.model())
    exporter.export(exporter.open_checkpoint(source), tmp_path / "out", format="hf")
    report = judged(source, tmp_path / "out")
    seed = choose_seed(None, report.file["sha256"], None)
    assert (report.evidence["seed"], report.evidence["seed_from"]) == (seed.number, "file")
    assert report.coverage is not None
    assert report.coverage.sentence().endswith(", transformers")


def test_a_baseline_gives_its_seed_unless_one_is_given(tmp_path: Path) -> None:
    source = save(tmp_path, state_dict())
    last = as_file(tmp_path, judged(source, toy_file(tmp_path, "v0", tied=True)))
    other = tmp_path / "other.bin"
    exporter.export(exporter.open_checkpoint(source), other, format="v3", storage="bf16")
    report = judged(source, other, baseline=last)
    of_last = json.loads(last.read_text())["evidence"]
    assert (report.evidence["seed"], report.evidence["seed_from"]) == (of_last["seed"], "baseline")
    assert report.baseline is not None
    with pytest.raises(CannotJudgeError, match="windows: expected the same tokens as today's"):
        verify.verify(source, other, baseline=last, evidence=verify.Evidence(depth="quick", seed=1))


def before(directory: Path, report: Report) -> Path:
    """The report as it was made when seeds were given and coverage was not recorded."""
    found = json.loads(report.to_json())
    for name in ("seed_from", "coverage"):
        del found["evidence"][name]
    del found["policy"]["coverage"]
    found["digest"] = digest_of_report(found)
    path = directory / "before.json"
    path.write_text(json.dumps(found))
    return path


def test_an_old_report_is_judged_and_is_a_baseline(tmp_path: Path) -> None:
    source, file = save(tmp_path, state_dict()), toy_file(tmp_path, "v0", tied=True)
    old = before(tmp_path, judged(source, file))
    again = judge(old)
    assert again.passed
    assert again.coverage is None
    report = judged(source, file, baseline=old)
    assert report.passed
    assert report.evidence["seed_from"] == "baseline"
    assert judge(as_file(tmp_path, report), baseline=old).passed
    words = r"before\.json: evidence: expected the coverage that .*, found a report .* verify the file again$"
    with pytest.raises(CannotJudgeError, match=words):
        judge(old, policy=demanding(tmp_path, "windows = 1"))


def test_the_report_says_what_the_windows_covered(tmp_path: Path) -> None:
    report = judged(save(tmp_path, state_dict()), toy_file(tmp_path, "v0", tied=True))
    assert report.coverage is not None
    windows = [window for window in report.windows if window.activations == "fp32"]
    assert report.coverage.windows == len(windows)
    assert report.coverage.tokens == sum(len(window.kl) for window in windows)
    assert report.coverage.sentence() == (
        "covered: 6 windows, positions 0-32 of 33, 29 of 29 token ids (100.0 %), "
        f"mirror and fast ({reader_c.best_path()}), operations in 2 windows"
    )
    assert Coverage.of_report(json.loads(report.to_json())["evidence"]) == report.coverage


def test_where_the_model_was_not_run_nothing_was_covered(tmp_path: Path) -> None:
    other = huggingface.save(tmp_path / "other", huggingface.model())
    report = judged(other, toy_file(tmp_path, "v0", tied=True))
    assert report.checks[0].status == "fail"
    assert report.coverage is not None
    assert report.coverage.sentence() == "covered: no window, because the model was not run"


@pytest.mark.parametrize(
    ("demand", "passed", "detail"),
    [
        ("positions = 0.5", True, "2 windows"),
        ("positions = 1.0\ntoken_ids = 0.3\nwindows = 4", False, "positions: expected at least 1 of 33, found 20"),
    ],
)
def test_a_policy_that_demands_coverage_is_held_against_the_windows(
    tmp_path: Path, demand: str, passed: bool, detail: str
) -> None:
    source, file = save(tmp_path, state_dict()), toy_file(tmp_path, "v0", tied=True)
    evidence, policy = verify.Evidence(depth="quick", windows=2, length=20), demanding(tmp_path, demand)
    report = verify.verify(source, file, evidence=evidence, policy=policy)
    assert report.checks[-1].name == "coverage"
    assert report.passed == passed
    assert detail in report.checks[-1].detail
    assert str(policy) in report.reason
    # a report that was saved without the demand, or with another one
    for earlier in (verify.verify(source, file, evidence=evidence), report):
        again = judge(as_file(tmp_path, earlier), policy=policy)
        assert again.checks[-1] == report.checks[-1]
        assert again.verdict == report.verdict
    without = judge(as_file(tmp_path, report))
    assert [check.name for check in without.checks][-1] == "quantization"
    assert without.passed


def test_coverage_comes_before_the_baseline(tmp_path: Path) -> None:
    source, file = save(tmp_path, state_dict()), toy_file(tmp_path, "v0", tied=True)
    last = as_file(tmp_path, judged(source, file))
    policy = demanding(tmp_path, "token_ids = 1.0")
    report = judged(source, file, baseline=last, policy=policy)
    assert [check.name for check in report.checks][-2:] == ["coverage", "baseline"]
    again = tmp_path / "again.json"
    again.write_text(report.to_json())
    assert [check.name for check in judge(again, policy=policy).checks][-2:] == ["coverage", "baseline"]


def of_model(directory: Path, **changes: int) -> tuple[Path, Path]:
    """A source and a file of a small model with this vocabulary and length."""
    model = config(dim=16, hidden_dim=16, n_layers=1, n_heads=2, n_kv_heads=1, **changes)
    checkpoint = exporter.Checkpoint.from_arrays(model, arrays(model))
    source, file = directory / "source.bin", directory / "model.bin"
    for path in (source, file):
        exporter.export(checkpoint, path, format="v3")
    return source, file


@pytest.mark.slow
def test_at_standard_depth_the_last_position_is_fed(tmp_path: Path) -> None:
    report = verify.verify(*of_model(tmp_path, vocab_size=5000, max_seq_len=900))
    assert report.coverage is not None
    assert (report.coverage.positions, report.coverage.max_seq_len) == (900, 900)
    assert [len(window.kl) for window in report.windows] == [512] * 7 + [900] + [512] * 2
    assert report.coverage.tokens == 9 * 512 + 900
    # no id comes twice in the random windows
    assert report.coverage.token_ids >= 7 * 512 + 900


@pytest.mark.slow
def test_at_full_depth_every_token_id_is_fed(tmp_path: Path) -> None:
    # the 32 windows of the depth hold 576 tokens
    report = verify.verify(*of_model(tmp_path, vocab_size=600, max_seq_len=18), depth="full")
    assert report.coverage is not None
    assert report.coverage.token_ids == 600
    assert report.coverage.windows == 34 + 2
    assert report.coverage.traced_windows == report.coverage.windows
    assert report.coverage.traced_positions == report.coverage.tokens == 36 * 18
