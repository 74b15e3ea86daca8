"""report.html, taken apart without a browser: whole, on its own, and with nothing but text from the report."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.html import Page, text_of
from helpers.reports import COVERAGE, GUILTY, METRICS, failing, passing, replaced, without_logits
from hypothesis import given
from hypothesis import strategies as st

from verify.checks.baseline import BaselineComparison
from verify.checks.result import CHECKS, within
from verify.diagnosis import Diagnosis
from verify.report import html
from verify.report.advice import next_step
from verify.report.docs_links import docs_of
from verify.report.findings import Baseline
from verify.report.glossary import TERMS
from verify.report.heat_map import heat_maps
from verify.report.model import Report
from verify.report.saved import read_report
from verify.report.tensor_csv import data_link, tensor_csv

HOSTILE = "</script></style></title>\"'><img src=x onerror=alert(1)><!--{{ 7 * 7 }}{% raw %}&lt;"

# mean KL on windows of text
TEXT = sum(w.kl_mean for w in passing().windows if (w.activations, w.origin) == ("fp32", "text")) / 3


def with_baseline(report: Report, **changes: Any) -> Report:
    fields = {
        "metric": "kl_mean",
        "activations": "fp32",
        "origin": "text",
        "windows": 3,
        "baseline": TEXT - 1e-3,
        "found": TEXT,
        "difference": 1e-3,
        "interval": (5e-4, 2e-3),
        "limit": 1e-5,
    }
    worse, same = (
        BaselineComparison(**{**fields, **changes}),
        BaselineComparison(**{**fields, "baseline": TEXT, "difference": 0.0, "interval": (-1e-3, 1e-6)}),
    )
    check = within("baseline", "statistical", 5e-4, 1e-5, "kl_mean is worse", {"metric": "kl_mean", "origin": "text"})
    return dataclasses.replace(
        report,
        checks=(*report.checks, check),
        baseline=Baseline("base.json", "ab" * 32, {**report.file, "path": "old.bin"}, (worse, same)),
    )


REPORTS: dict[str, Callable[[], Report]] = {
    "pass": passing,
    "fail": failing,
    "baseline": lambda: with_baseline(passing()),
    "nothing was run": lambda: without_logits(passing()),
}


@pytest.mark.parametrize("name", REPORTS)
def test_the_page_is_well_formed_and_has_one_heading_of_the_first_rank(name: str) -> None:
    page = Page(REPORTS[name]().to_html())
    assert len(page.all("h1")) == 1
    identifiers = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(identifiers) == len(set(identifiers))
    links = [element.attributes["href"] for element in page.all("a")]
    assert {link.removeprefix("#") for link in links if link.startswith("#")} <= set(identifiers)


@pytest.mark.parametrize("name", REPORTS)
def test_the_page_asks_for_nothing_else(name: str) -> None:
    """Nothing but a click on a link to the documentation leads away from it."""
    report = REPORTS[name]()
    content = report.to_html()
    page = Page(content)
    documentation = {docs_of(check.name) for check in report.checks}
    for element in page.elements:
        for attribute in ("src", "srcset", "data", "action", "poster", "background"):
            assert attribute not in element.attributes
        href = element.attributes.get("href", "#")
        assert (
            href.startswith("#") or element.tag == "link" or href in documentation or "download" in element.attributes
        )
        assert not [name for name in element.attributes if name.startswith("on")]
    assert [link.attributes["href"] for link in page.all("link")] == ["data:,"]
    assert content.count("https://") == len(page.with_class("docs")) == len(report.checks)
    for word in ("http://", "url(", "@import", "@font-face", "fetch(", "XMLHttpRequest", "import("):
        assert word not in content


def test_only_the_page_s_own_script_may_run() -> None:
    page = Page(failing().to_html())
    (script,) = page.all("script")
    digest = base64.b64encode(hashlib.sha256("".join(script.text).encode()).digest()).decode()
    (policy,) = [meta for meta in page.all("meta") if "http-equiv" in meta.attributes]
    assert f"script-src 'sha256-{digest}'" in policy.attributes["content"]
    assert "default-src 'none'" in policy.attributes["content"]


def hostile(value: Any) -> Any:
    """The same with HOSTILE in every text, and in every key of a mapping."""
    if isinstance(value, str):
        return value if value in ("pass", "fail", "skipped", *CHECKS, "fp32", "q8", "embedding") else value + HOSTILE
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {
            field.name: hostile(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init
        }
        return dataclasses.replace(value, **changed)
    if isinstance(value, tuple):
        return tuple(map(hostile, value))
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()} | {HOSTILE: HOSTILE}
    return value


def test_whatever_a_report_says_stays_text() -> None:
    plain, attacked = (Page(r.to_html()) for r in (with_baseline(failing()), hostile(with_baseline(failing()))))
    assert {element.tag for element in attacked.elements} == {element.tag for element in plain.elements}
    assert "".join(attacked.all("script")[0].text) == "".join(plain.all("script")[0].text)
    assert "".join(attacked.all("style")[0].text) == "".join(plain.all("style")[0].text)
    known = {name for element in plain.elements for name in element.attributes}
    assert {name for element in attacked.elements for name in element.attributes} <= known
    assert HOSTILE in "".join(attacked.all("body")[0].text)


def test_a_file_s_name_that_is_no_unicode_is_written_all_the_same() -> None:
    report = dataclasses.replace(passing(), file={**passing().file, "path": "model\udcff\x00.bin"})
    assert "model\\udcff" in report.to_html().encode("utf-8").decode("utf-8")


def above_the_fold(report: Report) -> str:
    """All text before the first heading that follows the verdict."""
    page = Page(report.to_html())
    (verdict,) = page.with_class("verdict")
    headings = [element.tag for element in page.elements if element.tag in ("h1", "h2")]
    assert headings[:2] == ["h1", "h2"]
    assert text_of(page.all("h1")[0]).split()[-1] == report.verdict.upper()
    assert not [e for e in page.elements[: page.elements.index(verdict)] if e.tag in ("h1", "h2", "h3")]
    return text_of(verdict)


def test_the_verdict_comes_first_with_the_file_and_the_reason() -> None:
    for report in (passing(), failing(), without_logits(passing())):
        said = above_the_fold(report)
        covered = COVERAGE.sentence()
        for word in ("model.bin", "v2", "1,000 bytes", report.file["sha256"], "model.pt", report.reason, covered):
            assert word in said


def test_the_top_says_what_the_model_is_and_when_it_was_judged() -> None:
    changes = {"date": "2026-11-28T15:20:12Z", "environment": {"versions": {"export-and-verify": "1.2.3"}}}
    said = above_the_fold(dataclasses.replace(with_baseline(passing()), **changes))
    for words in (
        "model model, 1,968 parameters",
        "format v2: q8_0 in groups of 8 (97.6 %), fp32 (2.4 %); 4.065 bits a weight",
        "size 0.977 KiB (1,000 bytes), 7.87 times smaller than in float32",
        "depth quick: 3 windows of text, 3 random, 2 fixed",
        "made 2026-11-28 15:20:12 UTC by export-and-verify 1.2.3",
        "since the baseline worse: kl_mean on text by 0.001; the same size",
    ):
        assert words in said


def test_the_page_holds_the_numbers_of_the_tensors_as_csv() -> None:
    report = passing()
    (link,) = [a for a in Page(report.to_html()).all("a") if "download" in a.attributes]
    assert link.attributes["download"] == "model.bin.tensors.csv"
    assert link.attributes["href"] == data_link(tensor_csv(report.tensors))


def test_a_word_of_the_glossary_has_its_meaning_and_its_entry() -> None:
    page = Page(with_baseline(passing()).to_html())
    words = page.with_class("term")
    meanings = {f"#term-{key}": meaning for key, (_, meaning) in TERMS.items()}
    assert len({word.attributes["href"] for word in words}) >= 12
    for word in words:
        assert word.attributes["data-tip"] == meanings[word.attributes["href"]]
    (entry,) = page.all("div", id="term-kl")
    assert text_of(entry) == f"KL {TERMS['kl'][1]}"


def test_int8_activations_have_bars_of_their_own_and_none_is_hollow() -> None:
    page = Page(passing().to_html())
    of_int8 = [element for element in page.with_class("bar") if "q8" in element.classes]
    assert len(of_int8) == 5
    assert "Hollow" not in passing().to_html()


def test_figures_that_differ_read_as_different() -> None:
    near = {"baseline": 0.0123456789, "found": 0.0123456788, "difference": 1.000001e-5, "limit": 1e-5}
    cells = [text_of(cell) for cell in Page(with_baseline(passing(), **near).to_html()).with_class("n")]
    assert {"0.0123456789", "0.0123456788", "1.000001e-05 (0.0005 to 0.002)"} <= set(cells)
    metrics = dataclasses.replace(passing().metrics or METRICS, perplexity_source=8.0, perplexity_file=8.00001)
    said = text_of(Page(dataclasses.replace(passing(), metrics=metrics).to_html()).all("body")[0])
    assert "perplexity 8 → 8.00001" in said
    assert "1.000001 of 1.02" in said


def test_every_check_and_tensor_to_blame_is_named_before_anything_else() -> None:
    report = failing()
    said = above_the_fold(report)
    assert report.diagnosis is not None
    for check in report.blamed:
        assert check.name in said
    for word in (GUILTY, "layer 1 down", report.diagnosis.sentence, next_step(report.blamed[0], report)):
        assert word in said


def test_of_many_guilty_tensors_the_rest_is_counted() -> None:
    names = tuple(f"layers.{n}.attention.wq.weight" for n in range(30))
    report = dataclasses.replace(failing(), diagnosis=Diagnosis("x", "they are swapped", names, 1.0))
    assert names[0] in above_the_fold(report)
    assert "22 more tensors" in above_the_fold(report)


def test_one_more_guilty_tensor_is_counted_in_the_singular() -> None:
    names = tuple(f"layers.{n}.attention.wq.weight" for n in range(9))
    report = dataclasses.replace(failing(), diagnosis=Diagnosis("x", "they are swapped", names, 1.0))
    assert "and 1 more tensor " in above_the_fold(report)


def test_a_number_near_its_limit_reads_as_another_in_every_place() -> None:
    near = within("operations", "rigorous", 0.99999, 1.0, "12 operations")
    tensor = dataclasses.replace(passing().tensors[0], utilisation=0.99999)
    report = dataclasses.replace(passing(), checks=replaced(passing().checks, near), tensors=(tensor,))
    page = Page(report.to_html())
    (row,) = page.all("tr", id="check-operations")
    assert "0.99999 1 99.999 %" in text_of(row)
    assert text_of(page.with_class("num")[0]) == "0.99999"


@pytest.mark.parametrize(
    "empty",
    [
        {"metrics": None},
        {"metrics_q8_activations": None},
        {"metrics": None, "metrics_q8_activations": None},
        {"windows": ()},
        {"layers": ()},
        {"tensors": ()},
        {"attribution": None},
        {"config": {}},
        {"checks": ()},
        {"evidence": {}},
    ],
)
def test_what_is_not_there_is_left_out(empty: dict[str, Any]) -> None:
    for make in REPORTS.values():
        Page(dataclasses.replace(make(), **empty).to_html())


def test_an_empty_section_says_why() -> None:
    said = text_of(Page(without_logits(passing()).to_html()).all("body")[0])
    assert said.count("the source's norm.weight holds a NaN") >= 3


floats = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1.7e308, 1e308])


def with_numbers(value: Any, draw: Callable[[], float]) -> Any:
    """The same with another number in the place of every float."""
    if isinstance(value, float):
        return draw()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: with_numbers(getattr(value, f.name), draw) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **changed)
    if isinstance(value, tuple):
        return tuple(with_numbers(item, draw) for item in value)
    if isinstance(value, dict):
        return {key: with_numbers(item, draw) for key, item in value.items()}
    return value


@pytest.mark.slow
@given(st.lists(floats, min_size=1, max_size=11))
def test_any_numbers_are_shown_within_their_frames(numbers: list[float]) -> None:
    endless = itertools.cycle(numbers)
    report = with_numbers(with_baseline(failing()), lambda: next(endless))
    assert report.metrics is not None
    # no perplexity is 0
    metrics = dataclasses.replace(report.metrics, perplexity_source=8.0)
    report = dataclasses.replace(report, metrics=metrics, metrics_q8_activations=metrics)
    page = Page(report.to_html())
    for element in page.elements:
        for declaration in element.attributes.get("style", "").split(";"):
            assert 0 <= float(declaration.partition(":")[2].removesuffix("%") or 0) <= 100
        if element.tag == "path" and element.attributes.get("d"):
            assert "n" not in element.attributes["d"]


def test_the_same_report_gives_the_same_bytes_also_when_it_was_saved(tmp_path: Path) -> None:
    for number, make in enumerate(REPORTS.values()):
        report = make()
        path = tmp_path / f"{number}.json"
        path.write_text(report.to_json(), encoding="utf-8")
        assert report.to_html() == make().to_html() == read_report(path).to_html()


def test_every_operation_has_its_cell_and_the_failed_ones_a_sign() -> None:
    report = failing()
    page = Page(report.to_html())
    cells = page.all("td", role="gridcell")
    assert sorted(cell.attributes["data-name"] for cell in cells) == sorted(
        cell.data["name"]
        for heat in heat_maps(report.layers, 1.0)
        for band in heat.bands
        for row in band.rows
        for cell in row.cells
        if cell is not None
    )
    assert len(cells) == len(report.layers)
    failed = [cell for cell in cells if "failed" in cell.classes]
    assert len(failed) == sum(not layer.max_error_over_bound <= 1 for layer in report.layers) > 0
    # one stop for the tabulator in each map, where it went wrong first
    stops = [cell for cell in cells if cell.attributes["tabindex"] == "0"]
    assert len(stops) == len(page.all("table", role="grid"))
    assert all("failed" in stop.classes for stop in stops)


def test_the_page_is_in_the_package() -> None:
    assert {path.name for path in Path(html.__file__).parent.glob("page*")} == {
        "page.css",
        "page.html.j2",
        "page.js",
        "page_compared.html.j2",
        "page_costs.html.j2",
        "page_macros.html.j2",
        "page_operations.html.j2",
    }
