"""A report that is read back says what it said, or is refused."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.counted import Counted
from helpers.reports import COVERAGE, DIGEST, METRICS, consistent, failing, passing, without_logits
from hypothesis import given
from hypothesis import strategies as st

from verify.checks.coverage import check_coverage
from verify.checks.policy import CoverageDemands
from verify.checks.result import CHECKS, exact, within
from verify.checks.tokenizer import TokenizerReport
from verify.engine.engine_report import EngineReport
from verify.errors import CannotJudgeError
from verify.report.document import digest_of_report
from verify.report.findings import Baseline
from verify.report.model import Report
from verify.report.saved import read_report


def saved(directory: Path, report: Report) -> Path:
    path = directory / "report.json"
    path.write_text(report.to_json())
    return path


FIRST, *OTHERS = passing().windows
NAN = consistent(
    dataclasses.replace(
        passing(),
        windows=(dataclasses.replace(FIRST, kl_mean=float("nan")), *OTHERS),
        metrics=dataclasses.replace(METRICS, kl_mean_ci=None),
    )
)


TOKENIZER = TokenizerReport("v3", None, 64, DIGEST, "tokenizer.json", "tokenizers", 9, 1, 3, 2000, 7, 4)


@pytest.mark.parametrize("report", [passing(), failing(), without_logits(passing()), NAN])
def test_there_and_back_is_the_same_report(tmp_path: Path, report: Report) -> None:
    text = report.to_json()
    again = read_report(saved(tmp_path, report))
    assert again.to_json() == text
    assert again.verdict == report.verdict


def test_a_report_is_a_file_or_comes_by_the_shells_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(CannotJudgeError, match=r"expected a report\.json, found: no regular file"):
            read_report(path)
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "wb") as ours:  # noqa: PTH123  # of descriptors
        ours.write(passing().to_json().encode())
        ours.close()
        assert read_report(Path(f"/dev/fd/{reading}")) == passing()


def edited(path: Path, change: Callable[[dict[str, Any]], object], *, mend_digest: bool) -> Path:
    found = json.loads(path.read_text())
    change(found)
    if mend_digest:
        found["digest"] = digest_of_report(found)
    path.write_text(json.dumps(found))
    return path


@given(data=st.data())
def test_a_number_changed_by_hand_is_noticed(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = saved(tmp_path_factory.mktemp("edited"), failing())

    def change(found: dict[str, Any]) -> None:
        table = found[data.draw(st.sampled_from(["file", "metrics", "environment"]))]
        key = data.draw(st.sampled_from(sorted(k for k, v in table.items() if isinstance(v, (int, float)))))
        table[key] += 1

    with pytest.raises(CannotJudgeError, match=r"digest: expected|expected what the schema says"):
        read_report(edited(path, change, mend_digest=False))


def test_a_verdict_or_status_that_does_not_follow_is_refused_even_with_its_digest_mended(tmp_path: Path) -> None:
    path = saved(tmp_path, failing())
    with pytest.raises(CannotJudgeError, match="verdict: expected what follows from the rest"):
        read_report(edited(path, lambda found: found.update(verdict="pass"), mend_digest=True))
    path = saved(tmp_path, failing())
    with pytest.raises(CannotJudgeError, match="checks: expected what follows from the rest"):
        read_report(edited(path, lambda found: found["checks"][4].update(utilisation=0.5), mend_digest=True))


def test_a_check_that_passed_beyond_its_limit_is_refused(tmp_path: Path) -> None:
    def change(found: dict[str, Any]) -> None:
        for check in found["checks"]:
            check["status"] = "pass"
        found["verdict"] = "pass"

    with pytest.raises(CannotJudgeError, match="checks: expected what follows from the rest"):
        read_report(edited(saved(tmp_path, failing()), change, mend_digest=True))


def only_passed(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [check for check in checks if check["status"] == "pass"]


@pytest.mark.parametrize(
    "forge",
    [
        only_passed,
        lambda checks: checks[:1],
        lambda checks: checks[:1] * 6,
        lambda checks: [*checks[:2], checks[0], *only_passed(checks[3:])],
        lambda checks: [*only_passed(checks), {**checks[0], "name": "engine"}],
        lambda checks: [*only_passed(checks), {**checks[0], "name": "baseline"}],
        lambda checks: only_passed(checks)[::-1],
    ],
)
def test_a_report_without_one_of_the_checks_or_with_one_twice_is_refused(
    tmp_path: Path, forge: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> None:
    def change(found: dict[str, Any]) -> None:
        found.update(checks=forge(found["checks"]), verdict="pass")

    with pytest.raises(CannotJudgeError, match="checks: expected config, file, tensors, operations, exec"):
        read_report(edited(saved(tmp_path, failing()), change, mend_digest=True))


@pytest.mark.parametrize("name", ["tokenizer", "engine", "coverage", "baseline"])
def test_a_check_that_was_asked_for_cannot_be_taken_out(tmp_path: Path, name: str) -> None:
    against = Baseline("last.json", DIGEST, passing().file, ())
    engine = EngineReport(None, "mine", DIGEST, "fp32", 2, 1392, 0, None, "", "")
    checks = {check.name: check for check in passing().checks}
    checks |= {"tokenizer": exact("tokenizer", 1, "no"), "engine": exact("engine", 1, "no")}
    checks |= {"baseline": within("baseline", "statistical", 1.0, 0.5, "worse")}
    demands = CoverageDemands(windows=9)
    checks["coverage"] = check_coverage(COVERAGE, demands)
    policy = dataclasses.replace(passing().policy, coverage=demands)
    ordered = tuple(checks[one] for one in CHECKS)
    found = {"baseline": against, "engine": engine, "policy": policy, "tokenizers": (TOKENIZER,)}
    path = saved(tmp_path, dataclasses.replace(passing(), checks=ordered, **found))
    assert read_report(path).checks == ordered

    def change(found: dict[str, Any]) -> None:
        found["checks"] = [check for check in found["checks"] if check["name"] != name]

    with pytest.raises(CannotJudgeError, match=f"checks: expected .*{name}.*each once, found config"):
        read_report(edited(path, change, mend_digest=True))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a report.json, found"),
        (b"{", "expected a report.json, found"),
        (b"\xff\xfe\x00", "expected a report.json, found"),
        (b"[" * 100_000, "expected a report.json, found"),
        (b"[]", "expected a report.json, found: a list"),
        (b"{}", "schema: expected export-and-verify/report/1, found None"),
        (b'{"schema": "export-and-verify/report/2"}', "schema: expected export-and-verify/report/1, found 'export"),
        (b'{"schema": "export-and-verify/report/1"}', "the report: expected what the schema says, found: 'verdict'"),
        (b'{"schema": NaN}', "NaN, which is not a JSON number"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(CannotJudgeError, match=message):
        read_report(path)


def test_a_number_beyond_float64_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, failing())
    path.write_text(path.read_text().replace(f'"kl_max": {METRICS.kl_max}', '"kl_max": 1e999'))
    with pytest.raises(CannotJudgeError, match="expected numbers within float64, found: Out of range"):
        read_report(path)


def test_a_report_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotJudgeError, match=r"expected a report\.json, found: no such file"):
        read_report(tmp_path / "none.json")
    with pytest.raises(CannotJudgeError, match=r"expected a report\.json, found: a directory: give .*/report\.json$"):
        read_report(tmp_path)


def leaves(found: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The place of every value that holds no others, and of every empty list or object."""
    inner = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    places = [place for key, value in inner for place in leaves(value, (*path, key))]
    return places or [path]


def holder(found: Any, path: tuple[str | int, ...]) -> Any:
    for key in path[:-1]:
        found = found[key]
    return found


def others(value: object) -> list[object]:
    """What an editor might put there instead: another value of its kind, and values of other kinds."""
    near: list[object] = []
    if isinstance(value, bool):
        near = [not value]
    elif isinstance(value, (int, float)):
        near = [value + 1, -value - 1, value * 2 + 1, 0.5 * value + 0.25]
    elif isinstance(value, str):
        near = [value + "x", value[:-1] + "\u200b", value.swapcase() + "\0"]
    return [*near, None, [], {}, "nan", "inf", 10**400, {"value": value}, [value]]


@pytest.mark.parametrize("report", [passing(), failing()], ids=["passing", "failing"])
def test_every_field_that_was_edited_is_noticed(tmp_path: Path, report: Report, counted: Counted) -> None:
    path = saved(tmp_path, report)
    original = path.read_text()
    places = leaves(json.loads(original))
    count = 0
    for number, place in enumerate(places):
        now = holder(json.loads(original), place)[place[-1]]
        # the kinds of edits in turn, since each place has many like it
        for value in others(now)[number % 9 :: 9]:
            if value == now and type(value) is type(now):
                continue
            found = json.loads(original)
            holder(found, place)[place[-1]] = value
            path.write_text(json.dumps(found))
            with pytest.raises(CannotJudgeError):
                read_report(path)
            count += 1
        found = json.loads(original)
        del holder(found, place)[place[-1]]
        path.write_text(json.dumps(found))
        with pytest.raises(CannotJudgeError):
            read_report(path)
    assert len(places) > 300
    assert count > 500
    counted("fields of saved reports, each edited or taken out", count + len(places), "refused")


@pytest.mark.slow
def test_an_edited_field_with_its_digest_mended_never_makes_a_failing_report_pass(
    tmp_path: Path, counted: Counted
) -> None:
    """One field alone: several at once are a forgery, which an attestation is there for."""
    path = saved(tmp_path, failing())
    original = path.read_text()
    refused = tried = 0
    for number, place in enumerate(leaves(json.loads(original))):
        edits = (*others(holder(json.loads(original), place)[place[-1]]), "pass", "skipped", 0.0)
        for value in edits[number % 9 :: 9]:
            found = json.loads(original)
            holder(found, place)[place[-1]] = value
            if place != ("digest",):
                found["digest"] = digest_of_report(found)
            path.write_text(json.dumps(found))
            tried += 1
            try:
                assert read_report(path).verdict == "fail"
            except CannotJudgeError:
                refused += 1
    assert refused > 300
    counted("the same in a failing one, with its digest recomputed", tried, "refused, or still a failing one")


@pytest.mark.parametrize("name", ["rope-scaling", "rope-position", "other-tensor"])
def test_a_report_keeps_the_name_that_a_mistake_had_when_it_was_written(tmp_path: Path, name: str) -> None:
    """Hints of these names are now given as rope-scaling-ignored, rope-missing and gate-up-swapped."""
    engine = EngineReport(None, "mine", DIGEST, "fp32", 2, 1392, 0, None, name, "It gives the logits of an engine.")
    checks = [*failing().checks[:5], exact("engine", 1, "no"), *failing().checks[5:]]
    report = dataclasses.replace(failing(), checks=tuple(checks), engine=engine)
    again = read_report(saved(tmp_path, report))
    assert again.engine is not None
    assert again.engine.hint_name == name
    assert again.to_json() == report.to_json()


def test_a_report_without_the_date_and_the_model_is_read_as_before(tmp_path: Path) -> None:
    """Earlier versions did not record them."""

    def earlier(found: dict[str, Any]) -> None:
        del found["date"], found["model"]

    again = read_report(edited(saved(tmp_path, passing()), earlier, mend_digest=True))
    assert again == passing()
    assert again.date is None
    assert again.to_dict()["model"]["parameters"] == 1968


def test_the_date_comes_back(tmp_path: Path) -> None:
    report = dataclasses.replace(passing(), date="2026-11-28T15:20:12Z")
    assert read_report(saved(tmp_path, report)).date == report.date
    with pytest.raises(CannotJudgeError, match=r"date: expected what the schema says"):
        read_report(edited(saved(tmp_path, report), lambda found: found.update(date="today"), mend_digest=True))


@pytest.mark.parametrize("key", ["parameters", "bits_per_weight"])
def test_a_model_that_does_not_follow_from_the_tensors_is_refused(tmp_path: Path, key: str) -> None:
    path = edited(saved(tmp_path, passing()), lambda found: found["model"].update({key: 1}), mend_digest=True)
    with pytest.raises(CannotJudgeError) as error:
        read_report(path)
    assert str(error.value) == f"{path}: model: expected what follows from the tensors, found something else"
