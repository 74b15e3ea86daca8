"""Policies fail closed: what is misread must not pass."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from helpers.reports import LIMITING_POLICY

from verify.checks.policy import (
    DEFAULT_POLICY,
    CoverageDemands,
    load_policy,
)
from verify.errors import CannotJudgeError


def changed(table: str, line: str) -> str:
    """The example's tables of v2 with one line of one of them changed: "key = value"."""
    text = LIMITING_POLICY.read_text()
    of_v2 = text[text.index("\n[v2]\n") : text.index("\n[v3]\n")]
    first, heading, rest = of_v2.partition(f"[{table}]")
    assert heading
    own, bracket, others = rest.partition("\n[")
    key = line.split(" =", maxsplit=1)[0]
    own, count = re.subn(rf"(?m)^{key} = .*$", line, own)
    return first + heading + (own if count else f"{own}\n{line}\n") + bracket + others


TOO_LONG = r"expected lines of at most 1000 bytes, found one of \d+"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            changed("v2.quantization", "kl_mean = 'small'"),
            r"\[v2.quantization\] kl_mean: expected 0 to 1e.09, found 'small'",
        ),
        (changed("v2.quantization", "kl_mean = nan"), "kl_mean: expected 0 to 1e.09, found nan"),
        (changed("v2.execution", "noise_sigmas = inf"), "noise_sigmas: expected 0 to 1e.09, found inf"),
        (changed("v2.operations", "error_over_bound = -1"), "error_over_bound: expected 0 to 1e.09, found -1"),
        (changed("v2.baseline", "kl_mean = true"), r"\[v2.baseline\] kl_mean: expected 0 to 1e.09, found True"),
        (changed("v2.quantization", "kl_max = 1" + "0" * 400), "kl_max: expected 0 to 1e.09"),
        (changed("v2.quantization", "top1_agreement = 95"), "top1_agreement: expected 0 to 1, found 95"),
        (changed("v2.quantization", "kl_meen = 1"), "found 'kl_meen'"),
        (changed("v2.execution", "kl_mean = 1"), "expected noise_sigmas, found 'kl_mean'"),
        (changed("v2", "may_be_skiped = []"), "found 'may_be_skiped'"),
        (changed("v2", "may_be_skipped = 'all'"), "may_be_skipped: expected a list of checks, found 'all'"),
        (changed("v2", "may_be_skipped = ['tensor']"), "expected names of checks .*, found 'tensor'"),
        (changed("v2", "may_be_skipped = [1]"), "expected names of checks .*, found 1"),
        (changed("v2", "may_be_skipped = [[]]"), r"expected names of checks .*, found \[\]"),
        ("[v7]\nkl_mean = 1", "found 'v7'"),
        ("kl_mean = 1", "found 'kl_mean'"),
        ("[v2]\nmay_be_skipped = []", r"\[v2\]: expected baseline, found none"),
        (
            changed("v2", "").replace("rms_logit_error = 1e-3", ""),
            r"baseline\]: expected rms_logit_error, found none",
        ),
        (
            "[v2]\nmay_be_skipped = []\noperations = 1\nexecution = 1\nquantization = 1\nbaseline = 1",
            "table of limits",
        ),
        ("", r"expected a table \[v2\], found none"),
        ("[v2", "expected TOML"),
        (changed("v2.quantization", "kl_max = " + "1" * 5000), TOO_LONG),
        (changed("v2.quantization", "kl_max = 0x" + "f" * 6000), TOO_LONG),
        (changed("v2", "may_be_skipped = 0x" + "f" * 6000), TOO_LONG),
        ("a" + ".a" * 1000 + " = 1", TOO_LONG),
        ("x = " + "[\n" * 5000, "expected TOML, found: maximum recursion depth exceeded"),
        ("#\n" * 40_000, "expected a policy, found: more than 65536 bytes"),
        (changed("v2", f"may_be_skipped = ['{'x' * 900}']"), "found 'x{79}$"),
    ],
)
def test_a_policy_that_is_not_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(CannotJudgeError, match=message):
        load_policy(path, "v2")


def test_a_policy_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotJudgeError, match="expected a policy, found: no such file"):
        load_policy(tmp_path / "none.toml", "v2")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CannotJudgeError, match="expected a policy, found: no regular file"):
        load_policy(tmp_path / "fifo", "v2")


def test_only_the_packages_own_policy_is_called_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_policy(DEFAULT_POLICY, "v2").path == "default"
    monkeypatch.chdir(tmp_path)
    Path("default").write_text(DEFAULT_POLICY.read_text())
    assert load_policy(Path("default"), "v2").path == load_policy(Path("./default"), "v2").path == "./default"


def with_demands(lines: str) -> str:
    return f"{changed('v2', '')}\n[v2.coverage]\n{lines}\n"


@pytest.mark.parametrize(
    ("lines", "demands"),
    [
        ("positions = 0.5", CoverageDemands(positions=0.5)),
        ("token_ids = 1", CoverageDemands(token_ids=1)),
        ("positions = 0\ntoken_ids = 0.25\nwindows = 40", CoverageDemands(0, 0.25, 40)),
    ],
)
def test_a_policy_may_demand_coverage_and_the_packages_own_demands_none(
    tmp_path: Path, lines: str, demands: CoverageDemands
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(with_demands(lines))
    assert load_policy(path, "v2").coverage == demands
    assert [load_policy(DEFAULT_POLICY, name).coverage for name in ("v0", "v2", "v3", "hf")] == [None] * 4


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", r"\[v2.coverage\]: expected at least one of positions, token_ids, windows, found \{\}"),
        ("positions = 1.5", r"\[v2.coverage\] positions: expected 0 to 1, found 1.5"),
        ("token_ids = -0.1", r"\[v2.coverage\] token_ids: expected 0 to 1, found -0.1"),
        ("token_ids = nan", r"\[v2.coverage\] token_ids: expected 0 to 1, found nan"),
        ("windows = 2.5", r"\[v2.coverage\] windows: expected an integer, found 2.5"),
        ("windows = true", r"\[v2.coverage\] windows: expected 0 to 1e.09, found True"),
        ("windows = '9'", r"\[v2.coverage\] windows: expected 0 to 1e.09, found '9'"),
        ("position = 1", r"\[v2.coverage\]: expected positions, token_ids, windows, found 'position'"),
    ],
)
def test_a_demand_that_is_not_understood_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(with_demands(lines))
    with pytest.raises(CannotJudgeError, match=message):
        load_policy(path, "v2")


WRONG = ("nan", "-nan", "inf", "-inf", "-1", "'1'", "true", "[]", "[1]", "{}", "1e10", "''")


def place_of(part: object) -> str:
    return ".".join(part) if isinstance(part, tuple) else ""


def values() -> list[tuple[tuple[str, ...], str]]:
    """The place of every limit and list in the example's table of v2, and which of the two it is."""
    table = tomllib.loads(LIMITING_POLICY.read_text())["v2"]
    return [
        ((key,), "list") if isinstance(value, list) else ((key, inner), "limit")
        for key, value in table.items()
        for inner in (value if isinstance(value, dict) else ("",))
    ]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize(("place", "kind"), values(), ids=place_of)
def test_every_value_is_held_to_its_kind(tmp_path: Path, place: tuple[str, ...], kind: str, value: str) -> None:
    if (kind, value) == ("list", "[]"):
        return
    path = tmp_path / "policy.toml"
    path.write_text(changed(".".join(("v2", *place[:-1])), f"{place[-1]} = {value}"))
    with pytest.raises(CannotJudgeError, match=place[-1]):
        load_policy(path, "v2")


@pytest.mark.parametrize(("place", "kind"), values(), ids=place_of)
def test_every_value_but_the_limits_of_cost_must_be_there(tmp_path: Path, place: tuple[str, ...], kind: str) -> None:
    path = tmp_path / "policy.toml"
    text = changed(".".join(("v2", *place[:-1])), f"{place[-1]} = 0.25")
    assert text.count(f"{place[-1]} = 0.25\n") == 1, kind
    path.write_text(text.replace(f"{place[-1]} = 0.25\n", ""))
    if place[0] == "quantization":
        assert getattr(load_policy(path, "v2").quantization, place[-1]) is None
        return
    with pytest.raises(CannotJudgeError, match=f"expected {place[-1]}, found none"):
        load_policy(path, "v2")


def test_only_the_packages_own_policy_is_the_default() -> None:
    assert load_policy(DEFAULT_POLICY, "v2").is_default
    assert not load_policy(LIMITING_POLICY, "v2").is_default


@pytest.mark.parametrize("length", [1000, 1001])
def test_a_line_may_have_1000_bytes(tmp_path: Path, length: int) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f"{changed('v2', '')}\n#{'x' * (length - 1)}\n")
    if length == 1000:
        assert load_policy(path, "v2").section == "v2"
        return
    with pytest.raises(CannotJudgeError) as caught:
        load_policy(path, "v2")
    assert str(caught.value) == f"{path}: expected lines of at most 1000 bytes, found one of 1001"


@pytest.mark.parametrize("size", [65536, 65537])
def test_a_policy_may_have_65536_bytes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "policy.toml"
    text = changed("v2", "") + "\n"
    path.write_text(text + "\n" * (size - len(text)))
    if size == 65536:
        assert load_policy(path, "v2").section == "v2"
        return
    with pytest.raises(CannotJudgeError) as caught:
        load_policy(path, "v2")
    assert str(caught.value) == (
        f"{path}: expected a policy, found: more than 65536 bytes: `verify --print-policy` prints one to start from"
    )


@pytest.mark.parametrize(
    ("place", "most"),
    [
        ("v2.quantization top1_agreement", 1.0),
        ("v2.quantization kl_max", 1e9),
        ("v2.execution noise_sigmas", 1e9),
        ("v2.baseline top1_agreement", 1.0),
        ("v2.baseline perplexity_ratio", 1e9),
        ("v2.coverage positions", 1.0),
        ("v2.coverage token_ids", 1.0),
        ("v2.coverage windows", 1e9),
    ],
)
def test_a_limit_may_be_all_from_zero_to_its_most(tmp_path: Path, place: str, most: float) -> None:
    table, key = place.split(" ")
    path = tmp_path / "policy.toml"
    for value in ("0", f"{most:.0f}"):
        line = f"{key} = {value}"
        path.write_text(with_demands(line) if table == "v2.coverage" else changed(table, line))
        found = load_policy(path, "v2")
        assert getattr(getattr(found, table.removeprefix("v2.")), key) == float(value)
    above = int(most) + 1
    path.write_text(
        with_demands(f"{key} = {above}") if table == "v2.coverage" else changed(table, f"{key} = {above}")
    )
    with pytest.raises(CannotJudgeError) as caught:
        load_policy(path, "v2")
    assert str(caught.value) == f"{path}: [{table}] {key}: expected 0 to {most:g}, found {above}"
