"""A saved report whose numbers contradict each other is refused, though its digest was made anew."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.reports import CERTIFICATES, DIGEST, GREEDY_TEXTS, GUILTY, METRICS, consistent, failing, passing

from verify.checks.baseline import check_baseline, compare
from verify.checks.result import CHECKS, exact
from verify.checks.tokenizer import TokenizerReport
from verify.engine.engine_report import EngineReport
from verify.errors import CannotJudgeError
from verify.report.consistency import _BOUNDS, contradictions
from verify.report.document import digest_of_report
from verify.report.findings import Baseline
from verify.report.model import Report
from verify.report.saved import read_report
from verify.tokenizers.drawn_texts import TEXTS

Document = dict[str, Any]


def compared() -> Report:
    """With a baseline and an engine."""
    report = passing()
    comparisons = compare(report.windows, report.windows, report.policy.baseline)
    engine = EngineReport(None, "mine", DIGEST, "fp32", 2, 1392, 1000, None, "", "")
    checks = (*report.checks[:5], exact("engine", 0, "fine"), *report.checks[5:], check_baseline(comparisons))
    against = Baseline("last.json", DIGEST, report.file, comparisons)
    return dataclasses.replace(report, checks=checks, baseline=against, engine=engine)


def refusal(directory: Path, report: Report, edit: Callable[[Document], object]) -> str:
    """What is said about the report after an edit; its digest is right."""
    document = json.loads(report.to_json())
    edit(document)
    document["digest"] = digest_of_report(document)
    path = directory / "report.json"
    path.write_text(json.dumps(document))
    with pytest.raises(CannotJudgeError) as caught:
        read_report(path)
    return str(caught.value).removeprefix(f"{path}: ")


def forge(document: Document, **statuses: dict[str, Any]) -> None:
    """Give checks other values, and the verdict that follows."""
    for check in document["checks"]:
        check.update(statuses.get(check["name"], {}))
    document["verdict"] = "pass" if all(check["status"] == "pass" for check in document["checks"]) else "fail"


def test_healthy_reports_contradict_nothing() -> None:
    for report in (passing(), failing(), compared(), consistent(passing())):
        assert list(contradictions(report)) == []


def test_every_check_has_its_bounds() -> None:
    assert set(_BOUNDS) == set(CHECKS)


FINE = {"status": "pass", "observed": 0.0}


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        (
            {"tensors": FINE, "operations": {"status": "pass", "observed": 0.9, "utilisation": 0.9}},
            "checks: operations: observed: expected inf, the largest of `layers`, found 0.9: the report contradicts "
            "itself",
        ),
        (
            {"tensors": {"status": "pass", "limit": 1e9, "utilisation": 1e-9}},
            "checks: tensors: limit: expected 0, as its bound is exact, found 1e+09: the report contradicts itself",
        ),
        (
            {"tensors": {"status": "pass", "bound": "rigorous", "limit": 5.0, "utilisation": 0.2}},
            "checks: tensors: limit: expected 1, the proved bound, found 5: the report contradicts itself",
        ),
        (
            {"tensors": {"status": "pass", "bound": "policy", "limit": 5.0, "utilisation": 0.2}},
            "checks: tensors: bound: expected exact or rigorous, found policy: the report contradicts itself",
        ),
    ],
)
def test_a_failing_report_does_not_pass_by_its_checks_alone(
    tmp_path: Path, statuses: dict[str, dict[str, Any]], message: str
) -> None:
    assert refusal(tmp_path, failing(), lambda document: forge(document, **statuses)) == message


def change(*path: str | int, to: Any) -> Callable[[Document], object]:
    def edit(document: Document) -> None:
        inner: Any = document
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("metrics", "kl_mean", to=5e-4), "metrics: kl_mean: expected 0.001, of `windows`, found 0.0005"),
        (change("metrics", "kl_max", to=1e-4), "metrics: kl_max: expected 0.02, of `windows`, found 0.0001"),
        (change("metrics", "kl_p99", to=1e-4), "metrics: kl_p99: expected 0.01609, of `windows`, found 0.0001"),
        (change("metrics", "positions", to=25), "metrics: positions: expected 24, of `windows`, found 25"),
        (
            change("metrics", "top1_agreement", to=1.0),
            "metrics: top1_agreement: expected 0.95, of `windows`, found 1",
        ),
        (
            change("metrics", "max_abs_logit_error", to=0.1),
            "metrics: max_abs_logit_error: expected 0.4, of `windows`, found 0.1",
        ),
        (
            change("metrics", "rms_logit_error", to=0.01),
            "metrics: rms_logit_error: expected 0.05, of `windows`, found 0.01",
        ),
        (
            change("metrics", "perplexity_file", to=8.0),
            "metrics: perplexity_file: expected 8.001, of `windows`, found 8",
        ),
        (
            change("metrics", "perplexity_source", to=None),
            "metrics: perplexity_source: expected 8, of `windows`, found none",
        ),
        (
            change("metrics", "worst_positions", 0, "kl", to=1e-4),
            "metrics: worst_positions: window 0, position 2: expected 0.02, of `windows`, found 0.0001",
        ),
        (
            change("metrics", "worst_positions", 0, "position", to=9),
            "metrics: worst_positions: window 0, position 9: expected none, of `windows`, found 0.02",
        ),
        (
            change("metrics_q8_activations", "kl_mean", to=1e-3),
            "metrics_q8_activations: kl_mean: expected 0.002, of `windows`, found 0.001",
        ),
        (
            change("metrics_q8_activations", to=None),
            "metrics_q8_activations: expected figures exactly if there are `windows`, found one without the other",
        ),
        (
            change("windows", 0, "kl_mean", to=1e-6),
            "windows: 0 (fp32): kl_mean: expected 0.00669696667, of its positions, found 1e-06",
        ),
        (
            change("windows", 0, "max_abs_logit_error", to=0.1),
            "windows: 0 (fp32): max_abs_logit_error: expected 0.4, of its positions, found 0.1",
        ),
        (
            change("windows", 0, "logit_error", to=[0.1, 0.4]),
            "windows: 0 (fp32): logit_error: expected 3, as in kl, found 2",
        ),
        (
            change("windows", 0, "origin", to="random"),
            "windows: fp32: expected 2 of fixed and 3 of random and 3 of text, as the evidence says, "
            "found 2 of fixed and 4 of random and 2 of text",
        ),
        (
            lambda document: document.update(
                windows=[w for w in document["windows"] if w["activations"] == "fp32"], metrics_q8_activations=None
            ),
            "windows: q8: expected 2 of fixed and 3 of random and 3 of text, as the evidence says, found none",
        ),
        (
            lambda document: document["layers"].pop(1),
            "layers: layer 0: expected q, as other layers have it, found none",
        ),
        (
            lambda document: document.update(layers=[layer for layer in document["layers"] if layer["layer"] != 0]),
            "layers: fp32: expected 2 layers, found none of number 0",
        ),
        (
            change("config", "n_layers", to=1 << 60),
            "layers: fp32: expected 1152921504606846976 layers, found none of number 2",
        ),
        (change("config", "n_layers", to="two"), "config: n_layers: expected an integer, found 'two'"),
        (
            lambda document: document.update(layers=[w for w in document["layers"] if w["activations"] == "fp32"]),
            "layers: q8: expected 2 layers, found none of number 0",
        ),
        (
            lambda document: document["windows"].clear(),
            "metrics: expected figures exactly if there are `windows`, found one without the other",
        ),
        (
            change("layers", 0, "max_error_over_bound", to=3.0),
            "checks: operations: observed: expected 3, the largest of `layers`, found 0.9",
        ),
        (
            lambda document: document["layers"].clear(),
            "checks: operations: observed: expected none, the largest of `layers`, found 0.9",
        ),
        (
            change("tensors", 0, "utilisation", to=1.5),
            f"tensors: {GUILTY}: utilisation: expected at most 1, as the check passed, found 1.5",
        ),
        (
            change("tensors", 0, "max_abs_error", to="inf"),
            f"tensors: {GUILTY}: utilisation: expected at most 1, as the check passed, found inf",
        ),
        (
            lambda document: document["tensors"].clear(),
            "tensors: expected every tensor, as the check passed, found none",
        ),
        (
            change("engine", "same_bits", to=1393),
            "engine: same_bits: expected at most its 1392 logits, found 1393",
        ),
        (
            change("baseline", "comparisons", 0, "found", to=0.0),
            "baseline: kl_mean on windows of random (fp32): found: expected 4.54545455e-05, of `windows`, found 0",
        ),
        (
            change("baseline", "comparisons", 0, "difference", to=1.0),
            "baseline: kl_mean on windows of random (fp32): difference: expected 0 to 0, its interval, found 1",
        ),
        (
            change("baseline", "comparisons", 0, "baseline", to=1.0),
            "baseline: kl_mean on windows of random (fp32): difference: expected -0.999955, of its figures, found 0",
        ),
    ],
)
def test_a_figure_that_contradicts_another_is_named_with_both(
    tmp_path: Path, edit: Callable[[Document], object], message: str
) -> None:
    assert refusal(tmp_path, compared(), edit) == f"{message}: the report contradicts itself"


def test_quantization_that_passed_has_metrics(tmp_path: Path) -> None:
    def edit(document: Document) -> None:
        document.update(metrics=None, metrics_q8_activations=None, windows=[])
        document["checks"][6].update(bound="exact", observed=0.0, limit=0.0, utilisation=None)

    message = "metrics: expected some, as the check quantization passed, found none: the report contradicts itself"
    assert refusal(tmp_path, compared(), edit) == message


@pytest.mark.parametrize(("name", "at"), [("engine", 5), ("baseline", 8)])
def test_a_check_that_was_requested_cannot_be_removed_together_with_its_findings(
    tmp_path: Path, name: str, at: int
) -> None:
    def edit(document: Document) -> None:
        assert document["checks"].pop(at)["name"] == name
        document[name] = None

    here = "baseline" if name == "engine" else "engine"
    assert refusal(tmp_path, compared(), edit) == (
        f"optional_checks: expected engine, baseline, as it names, found {here} in the report"
    )


def with_tokenizer(**changes: Any) -> Report:
    """A report on a file with a tokenizer block, all of whose texts were compared."""
    report = passing()
    texts = TEXTS[report.evidence["depth"]]
    found = TokenizerReport("v3", None, 64, DIGEST, "tokenizer.json", "tokenizers", 9, 1, 3, texts, 7, 4)
    checks = (*report.checks[:2], exact("tokenizer", 0, "fine"), *report.checks[2:])
    return dataclasses.replace(report, checks=checks, tokenizers=(dataclasses.replace(found, **changes),))


def test_a_tokenizer_that_passed_was_compared() -> None:
    for healthy in ({}, {"form": "qwen3c", "texts": 0}, {"library": "none", "texts": 0}):
        assert list(contradictions(with_tokenizer(**healthy))) == []
    for changes, message in (
        ({"texts": 5}, f"tokenizers: 0: texts: expected {TEXTS['quick']}, as the depth says, found 5"),
        ({"tokens": 0}, "tokenizers: 0: expected ids that a library judged, as the check passed, found none"),
        ({"library": ""}, "tokenizers: 0: expected ids that a library judged, as the check passed, found none"),
    ):
        assert list(contradictions(with_tokenizer(**changes))) == [message]


def test_a_tokenizer_cannot_be_removed_together_with_its_check(tmp_path: Path) -> None:
    def edit(document: Document) -> None:
        assert document["checks"].pop(2)["name"] == "tokenizer"
        document["tokenizers"] = []

    assert refusal(tmp_path, with_tokenizer(), edit) == (
        "optional_checks: expected tokenizer, as it names, found none in the report"
    )


def test_a_report_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """It has none of the four keys that came later."""
    document = json.loads(compared().to_json())
    del document["optional_checks"], document["judged_again"], document["certificates"]
    del document["greedy_texts"]
    document["digest"] = digest_of_report(document)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    assert read_report(path) == dataclasses.replace(compared(), certificates=None, greedy_texts=())


def test_certificates_are_those_of_the_windows() -> None:
    found = CERTIFICATES
    everything = dataclasses.replace(found, certified=24, first_uncertain=None)
    certain = dataclasses.replace(everything, smallest=dataclasses.replace(found.smallest, sigmas=10.0))
    assert list(contradictions(dataclasses.replace(passing(), certificates=certain))) == []
    of_positions = "as {} of 24 positions are certified, found"
    for wrong, message in (
        (dataclasses.replace(found, positions=25), "positions: expected 24, of `windows`, found 25"),
        (
            dataclasses.replace(certain, certified=25),
            "certified: expected at most its 24 positions, found 25",
        ),
        (dataclasses.replace(found, int8_certain=25), "int8_certain: expected at most its 24 positions, found 25"),
        (everything, f"smallest: expected a margin of at least 10, {of_positions.format(24)} 0.5"),
        (
            dataclasses.replace(found, smallest=certain.smallest),
            f"smallest: expected a margin below 10, {of_positions.format(22)} 10",
        ),
        (
            dataclasses.replace(found, first_uncertain=None),
            "first_uncertain: expected a position, as 22 of 24 positions are certified, found none",
        ),
    ):
        first, *_ = contradictions(dataclasses.replace(passing(), certificates=wrong))
        assert first == f"certificates: {message}"


def test_what_is_said_of_greedy_text_fits_together() -> None:
    uncertain, certain = GREEDY_TEXTS
    assert list(contradictions(dataclasses.replace(passing(), greedy_texts=GREEDY_TEXTS))) == []
    assert uncertain.tie is not None
    for wrong, message in (
        (dataclasses.replace(certain, certain=9), "certain: expected at most its 8 tokens, found 9"),
        (dataclasses.replace(certain, certain=7), "tie: expected one, as 7 of 8 are certain, found none"),
        (dataclasses.replace(uncertain, certain=8), "tie: expected none, as 8 of 8 are certain, found one"),
        (
            dataclasses.replace(certain, smallest_margin=9.5),
            "smallest_margin: expected at least 10, as all are certain, found 9.5",
        ),
        *(
            (
                dataclasses.replace(uncertain, tie=dataclasses.replace(uncertain.tie, sigmas=sigmas)),
                f"tie: sigmas: expected 2, the smallest margin, to 10, found {sigmas:g}",
            )
            for sigmas in (1.5, 10.0)
        ),
    ):
        found = list(contradictions(dataclasses.replace(passing(), greedy_texts=(certain, wrong))))
        assert found == [f"greedy_texts: 1: {message}"]


def test_a_nan_contradicts_every_number_and_no_nan(tmp_path: Path) -> None:
    edit = change("metrics", "kl_max", to="nan")
    assert refusal(tmp_path, passing(), edit).startswith("metrics: kl_max: expected 0.02, of `windows`, found nan")
    first, *others = passing().windows
    lost = dataclasses.replace(passing(), windows=(dataclasses.replace(first, kl_mean=float("nan")), *others))
    assert list(contradictions(consistent(lost))) == []
    assert METRICS.kl_max == 0.02
