"""summary.md says the verdict, what is wrong and what to do, in Markdown that no name can break."""

from __future__ import annotations

import dataclasses

from helpers.reports import GUILTY, failing, passing, replaced

from verify.checks.result import within
from verify.report import summary


def test_the_summary_names_the_verdict_the_guilty_tensor_and_what_to_do() -> None:
    text = summary.render(failing())
    first = text.splitlines()[0]
    assert "FAIL" in first
    assert "model.bin" in first
    plain = text.replace("\\", "")
    assert GUILTY in plain.split("|", 1)[0]
    assert "**Next:**" in text
    assert "PASS" in summary.render(passing()).splitlines()[0]


def test_the_summary_says_what_was_covered_and_by_whose_policy() -> None:
    text = summary.render(passing()).replace("\\", "")
    assert "\ncovered: 8 windows, positions 0-2 of 33, 20 of 29 token ids (68.9 %), mirror" in text
    own = dataclasses.replace(passing(), policy=dataclasses.replace(passing().policy, path="ci.toml"))
    assert "\n7 of 7 checks passed, by the policy ci.toml\n" in summary.render(own)
    assert "\n7 of 7 checks passed\n" in summary.render(passing())


def test_every_check_has_a_row_and_a_number_near_its_limit_reads_as_another() -> None:
    near = within("execution", "statistical", 10.00001, 10.0, "700 logits")
    report = dataclasses.replace(passing(), checks=replaced(passing().checks, near))
    rows = [line for line in summary.render(report).splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1:]] == [check.name for check in report.checks]
    assert "| execution | ❌ fail | statistical | 10.00001 | 10 | 700 logits |" in rows


def test_markdown_in_a_name_is_escaped_and_stays_on_its_line() -> None:
    report = dataclasses.replace(passing(), file={**passing().file, "path": "a|*b*\n[c](d)"})
    assert summary.render(report).splitlines()[0] == "## ✅ PASS a\\|\\*b\\* \\[c\\](d)"
