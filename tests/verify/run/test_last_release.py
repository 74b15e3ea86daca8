"""Against an earlier release: a loss is told with its size, chance is not, what cannot be compared is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.models import arrays, config
from helpers.reports import DIGEST, ORIGINS, consistent, failing, passing, window, without_logits
from hypothesis import given
from hypothesis import strategies as st

import exporter
import verify
from verify.checks.baseline import check_baseline, compare
from verify.checks.metrics import WindowMetrics, digest_of
from verify.checks.policy import DEFAULT_POLICY, load_policy
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.evidence.seed import Seed
from verify.judge_report import judge
from verify.report.attestation import render
from verify.report.model import Report
from verify.report.saved import SavedReport, read_report, read_saved
from verify.run.last_release import check_comparable, with_baseline
from verify.sources.in_memory import MemorySource
from verify.testing import source_of

LIMITS = load_policy(DEFAULT_POLICY, "v2").baseline
NOTHING = dataclasses.replace(LIMITS, kl_mean=0.0, top1_agreement=0.0, rms_logit_error=0.0, perplexity_ratio=1.0)


def saved(directory: Path, report: Report) -> Path:
    path = directory / "baseline.json"
    path.write_text(report.to_json())
    return path


def against(tmp_path: Path, report: Report, earlier: Report) -> Report:
    return with_baseline(report, read_saved(saved(tmp_path, earlier)))


def worse(report: Report, **changes: float) -> Report:
    """Each float window of the report with these added to its figures."""
    windows = tuple(
        dataclasses.replace(w, **{key: getattr(w, key) + by for key, by in changes.items()})
        if w.activations == "fp32"
        else w
        for w in report.windows
    )
    return consistent(dataclasses.replace(report, windows=windows))


def test_a_file_is_not_worse_than_itself(tmp_path: Path) -> None:
    report = against(tmp_path, passing(), passing())
    assert report.passed
    assert report.checks[-1].name == "baseline"
    assert report.baseline is not None
    # float and int8 activations, by origin: nll on text alone
    assert len(report.baseline.comparisons) == 2 * (4 + 3)
    assert not any(comparison.worse for comparison in report.baseline.comparisons)
    assert all(comparison.difference == 0 for comparison in report.baseline.comparisons)


@pytest.mark.parametrize(
    ("change", "metric"),
    [
        ({"kl_mean": 0.004}, "kl_mean"),
        ({"top1_agreement": -0.02}, "top1_agreement"),
        ({"rms_logit_error": 0.1}, "rms_logit_error"),
        ({"nll_file": 0.03}, "nll"),
    ],
)
def test_each_figure_that_is_worse_fails_with_its_size(tmp_path: Path, change: dict[str, float], metric: str) -> None:
    report = against(tmp_path, worse(passing(), **change), passing())
    check = report.checks[-1]
    (by,) = change.values()
    assert not report.passed
    assert check.status == "fail"
    assert check.where["metric"] == metric
    assert check.where["difference"] == pytest.approx(abs(by))
    assert f"{abs(by):.4g} worse than the baseline's" in check.detail
    assert read_report(saved(tmp_path, report)).to_json() == report.to_json()


@pytest.mark.parametrize("change", [{"kl_mean": -5e-4}, {"top1_agreement": 0.05}, {"nll_file": -0.1}])
def test_better_passes(tmp_path: Path, change: dict[str, float]) -> None:
    assert against(tmp_path, worse(passing(), **change), passing()).passed


def test_what_the_policy_lets_pass_passes(tmp_path: Path) -> None:
    assert against(tmp_path, worse(passing(), kl_mean=0.9 * LIMITS.kl_mean), passing()).passed
    assert not against(tmp_path, worse(passing(), kl_mean=1.1 * LIMITS.kl_mean), passing()).passed


def test_a_nan_on_either_side_is_worse() -> None:
    mine = [window(n, "random") for n in range(4)]
    lost = [dataclasses.replace(w, kl_mean=float("nan")) for w in mine]
    for new, old in ((mine, lost), (lost, mine)):
        assert check_baseline(compare(new, old, LIMITS)).status == "fail"


@given(seed=st.integers(0, 2**32), count=st.integers(2, 30))
def test_one_window_that_is_worse_is_chance_and_all_of_them_are_not(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    old = [window(n, "random", kl_mean=float(rng.uniform(1, 2))) for n in range(count)]
    one = [dataclasses.replace(old[0], kl_mean=old[0].kl_mean + 1), *old[1:]]
    every = [dataclasses.replace(w, kl_mean=w.kl_mean + 0.1 + 1e-6 * float(rng.uniform())) for w in old]
    assert check_baseline(compare(one, old, NOTHING)).status == "pass"
    assert check_baseline(compare(every, old, NOTHING)).status == "fail"


def test_false_alarms_are_as_rare_as_is_said() -> None:
    """Files that differ from their baselines by chance alone: at most 5 % in all, half of that on the bad side."""
    rng = np.random.default_rng(0)
    alarms, trials = 0, 800
    for _ in range(trials):
        moved = [window(n, "text", **{key: float(rng.normal()) for key in FIGURES}) for n in range(8)]
        old = [window(n, "text", **{key: float(rng.normal()) for key in FIGURES}) for n in range(8)]
        alarms += check_baseline(compare(moved, old, NOTHING)).status == "fail"
    assert 0.005 * trials < alarms < 0.05 * trials


FIGURES = ("kl_mean", "top1_agreement", "rms_logit_error", "nll_file")


def test_the_fixed_windows_are_no_sample() -> None:
    old = [window(n, origin) for n, origin in enumerate(ORIGINS)]
    new = [dataclasses.replace(w, kl_mean=9.0) if w.origin == "fixed" else w for w in old]
    assert check_baseline(compare(new, old, LIMITS)).status == "pass"


def test_a_quantized_file_is_compared_with_a_float_one_by_float_activations(tmp_path: Path) -> None:
    floats = tuple(w for w in passing().windows if w.activations == "fp32")
    report = against(tmp_path, passing(), consistent(dataclasses.replace(passing(), windows=floats)))
    assert report.baseline is not None
    assert {comparison.activations for comparison in report.baseline.comparisons} == {"fp32"}


def test_without_logits_there_is_nothing_to_compare_and_no_pass(tmp_path: Path) -> None:
    report = against(tmp_path, without_logits(passing()), passing())
    assert report.checks[-1].status == "skipped"
    assert not report.passed


def shifted(windows: tuple[WindowMetrics, ...]) -> tuple[WindowMetrics, ...]:
    return tuple(dataclasses.replace(w, tokens_sha256=f"{w.window + 7:064x}") for w in windows)


@pytest.mark.parametrize(
    ("earlier", "message"),
    [
        (failing(), "verdict: expected pass, as of a release, found fail"),
        (
            dataclasses.replace(passing(), source={**passing().source, "sha256": {"model.pt": "f" * 64}}),
            "source: expected a report about this source",
        ),
        (
            consistent(dataclasses.replace(passing(), windows=passing().windows[:3])),
            "windows: expected the same tokens as today's",
        ),
        (
            dataclasses.replace(passing(), windows=shifted(passing().windows)),
            "found 3 of text and 3 of random and 2 of fixed against 3 of text and 3 of random and 2 of fixed, 0 of",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, earlier: Report, message: str) -> None:
    with pytest.raises(CannotJudgeError, match=message):
        against(tmp_path, passing(), earlier)


def test_a_single_window_cannot_tell_a_loss_from_chance(tmp_path: Path) -> None:
    few = (window(0, "random"), window(1, "fixed"), window(2, "fixed"))
    one = consistent(dataclasses.replace(passing(), windows=few))
    with pytest.raises(CannotJudgeError, match="windows: expected at least 2 of one origin"):
        against(tmp_path, one, one)


def test_check_comparable_is_what_refuses_before_anything_is_computed() -> None:
    source = SimpleNamespace(files={"other.pt": "e" * 64})
    with pytest.raises(CannotJudgeError, match="source: expected a report about this source"):
        check_comparable(SavedReport(Path("baseline.json"), DIGEST, passing()), source, [])


def of_files(**digests: str) -> Report:
    return dataclasses.replace(passing(), source={**passing().source, "sha256": digests})


def test_two_files_that_changed_places_are_another_source(tmp_path: Path) -> None:
    earlier = of_files(**{"0.pth": "a" * 64, "1.pth": "b" * 64, "params.json": "c" * 64})
    swapped = of_files(**{"0.pth": "b" * 64, "1.pth": "a" * 64, "params.json": "c" * 64})
    assert against(tmp_path, earlier, earlier).passed
    with pytest.raises(CannotJudgeError, match="source: expected a report about this source"):
        against(tmp_path, swapped, earlier)
    with pytest.raises(CannotJudgeError, match="source: expected a report about this source"):
        check_comparable(read_saved(saved(tmp_path, earlier)), SimpleNamespace(files=swapped.source["sha256"]), [])


def test_a_source_of_one_file_stays_what_it_is_when_it_is_renamed(tmp_path: Path) -> None:
    assert against(tmp_path, of_files(**{"renamed.pt": DIGEST}), passing()).passed


def test_names_that_are_no_text_are_the_same_names_in_a_report(tmp_path: Path) -> None:
    report = of_files(**{"a\udcff.pth": "a" * 64, "params.json": "c" * 64})
    assert against(tmp_path, report, report).passed


def test_another_model_of_the_same_tensors_in_memory_is_another_source(tmp_path: Path) -> None:
    mine = config(vocab_size=32)
    evidence = Evidence(depth="quick", windows=2, length=8)
    theta = dataclasses.replace(mine, rope_theta=50.0)
    one, other = (source_of(exporter.Checkpoint.from_arrays(model, arrays(mine))) for model in (mine, theta))
    narrow = MemorySource(one.hyperparameters, lambda name: one.tensor(name).numpy(), lambda _name: "bf16")
    windows = evidence.collect(one, mine.max_seq_len, Seed(0, "given"))
    tokens = tuple(window(n, w.origin, tokens_sha256=digest_of(w.tokens)) for n, w in enumerate(windows))
    source = {**passing().source, "sha256": one.files}
    report = consistent(dataclasses.replace(passing(), source=source, windows=tokens))
    earlier = read_saved(saved(tmp_path, report))
    check_comparable(earlier, one, windows)
    for source in (other, narrow):
        # what evidence that was kept is found by, too
        assert source.files != one.files
        with pytest.raises(CannotJudgeError, match="source: expected a report about this source"):
            check_comparable(earlier, source, windows)


def test_a_baseline_that_can_be_read_once_is_named_by_what_it_said(tmp_path: Path) -> None:
    text = saved(tmp_path, passing()).read_bytes()
    today = tmp_path / "report.json"
    today.write_bytes(text)
    with subprocess.Popen(["cat", today], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        report = judge(today, baseline=f"/dev/fd/{cat.stdout.fileno()}")
    assert report.baseline is not None
    assert report.baseline.sha256 == hashlib.sha256(text).hexdigest()


def test_a_baseline_that_is_rewritten_meanwhile_is_named_by_what_was_compared(source: Path, good: Path) -> None:
    evidence = Evidence(depth="quick", windows=2, length=8)
    path = source.parent / "baseline.json"
    text = verify.verify(source, good, evidence=evidence).to_json()
    path.write_text(text)

    def rewrite(_stage: str, _done: int, _total: int) -> None:
        path.write_text("something else")

    report = verify.verify(source, good, baseline=path, evidence=evidence, progress=rewrite)
    assert path.read_text() == "something else"
    assert report.baseline is not None
    assert report.baseline.sha256 == hashlib.sha256(text.encode()).hexdigest()
    statement = json.loads(render(report))
    (named,) = (one for one in statement["predicate"]["configuration"] if one["name"].startswith("baseline "))
    assert named["digest"]["sha256"] == report.baseline.sha256
