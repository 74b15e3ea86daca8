"""The checks on a Hugging Face directory, in their order. transformers is the engine; it records no operations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.certificates import Certificates, all_certificates, certificates_of
from verify.checks.directory.config import check_directory_config, implied
from verify.checks.directory.file import check_directory_file, companions_of, weight_findings
from verify.checks.directory.target import Directory
from verify.checks.execution import Execution, WorstLogit, worst_logit
from verify.checks.metrics import WindowEvidence, compare_window, of_window, summarise
from verify.checks.quantization import check_quantization
from verify.checks.result import Bound, CheckResult, exact, skipped
from verify.checks.storage import HonestCost, lossless
from verify.checks.storage import verdict as storage_verdict
from verify.checks.tensors import FoundTensors, check_tensors
from verify.diagnosis import Diagnosis, diagnose_tensors
from verify.diagnosis.result import subject
from verify.errors import CannotJudgeError
from verify.oracle.routing import Certainty
from verify.run.check_findings import CheckFindings, unusable_tensor, with_text
from verify.run.cost import batches_of
from verify.run.directory_engine import DirectoryEngine, NotRunError
from verify.run.forecast import Forecast, forecast_of, measured_rate, seconds_of
from verify.run.honest_storage import storage_batches, storage_cost
from verify.run.memory import give_back
from verify.run.options import Options
from verify.run.progress import Meter, no_forecast, whole_stage
from verify.run.reference_logits import References, WindowReference, agrees, disagreement
from verify.run.resume import EvidenceStore
from verify.run.undecided import Undecided
from verify.run.worker import Job
from verify.sources import Hyperparameters, Source
from verify.sources.huggingface import HuggingFaceSource
from verify.system.optional_imports import wanted

_ON_WINDOWS: tuple[tuple[str, Bound], ...] = (
    ("execution", "statistical"),
    ("storage", "statistical"),
    ("quantization", "policy"),
)


# A mistake with the order of rows as llama2.c's order shows it -> (name, what) as the directory has it.
_ORDERS = {
    "q-k-permuted-twice": (
        "q-k-not-permuted",
        "the source's rows in llama2.c's order: they were never permuted to Hugging Face's half-split order",
    ),
    "q-k-not-unpermuted": (
        "q-k-permuted-twice",
        "the source's rows permuted to Hugging Face's half-split order twice",
    ),
}


@dataclass(frozen=True)
class _Window:
    """One window by both sides. evidence, certificates: None where a logit is not finite. agreement: of the two
    references, as for .bin files. certainty: of the choices of experts."""

    number: int
    evidence: WindowEvidence | None
    execution: WorstLogit
    agreement: WorstLogit
    certificates: Certificates | None
    certainty: Certainty | None = None


@dataclass(frozen=True)
class _Compared:
    """One batch, as it is stored."""

    windows: tuple[_Window, ...]


class DirectoryLadder:
    """Runs the checks on one directory."""

    def __init__(
        self, directory: Directory, source: Source, job: Job, max_seq_len: int, options: Options, store: EvidenceStore
    ) -> None:
        self._directory, self._source, self._job, self._policy = directory, source, job, job.policy
        self._max_seq_len, self._options, self._store = max_seq_len, options, store
        self._companions = companions_of(source)
        directory.of_model(source.hyperparameters)
        # the checks on tensors ask a file for its tensors and their storage alone, which a directory answers
        self._as_file = cast("reader_c.Model", directory)
        self._references = References(source, self._as_file, job.memory)
        self._engine: DirectoryEngine | None = None  # loaded with the first tokens

    def run(self) -> CheckFindings:
        """Run every check that can run; those that cannot are skipped, with the reason."""
        findings, reason = self._run_on_files()
        if reason is None:
            findings, reason = self._run_on_bytes(findings)
        else:
            findings = findings.with_checks(skipped("tensors", "exact", reason))
        if reason is None:
            findings = self._run_on_windows(findings)
        else:
            findings = findings.with_checks(*(skipped(name, bound, reason) for name, bound in _ON_WINDOWS))
        if self._companions:
            self._companions.expect_unchanged()
        return replace(findings, versions=directory_versions())

    def _run_on_files(self) -> tuple[CheckFindings, str | None]:
        """Run `config` and `file`. Return why nothing else can run, if it cannot."""
        directory, hyper = self._directory, self._source.hyperparameters
        wrong = weight_findings(directory, implied(directory))
        read = None if wrong else self._read()
        unlike = {}
        if self._options.requested and not wrong and _same_shapes(read, hyper):
            unlike = self._options.requested.unlike(self._as_file, self._source)
        config = check_directory_config(directory, self._source, self._max_seq_len, read, unlike)
        file = check_directory_file(directory, wrong, self._companions)
        findings = CheckFindings(checks=(config, file))
        if wrong:
            return findings, "the directory's weights are not whole"
        if isinstance(read, CannotJudgeError):
            return findings, "what the directory's config.json means is not known"
        if not _same_shapes(read, hyper) or implied(directory).max_seq_len < self._max_seq_len:
            return findings, "the directory is of another shape than the source"
        return findings, None

    def _read(self) -> Hyperparameters | CannotJudgeError:
        """Read the directory as a source is read."""
        try:
            return HuggingFaceSource(self._directory.path).hyperparameters
        except CannotJudgeError as error:
            return error

    def _run_on_bytes(self, findings: CheckFindings) -> tuple[CheckFindings, str | None]:
        """Run `tensors`. Return why no logits can be compared, if they cannot."""
        stages = self._forecast.stages(self._job.windows, self._job.depth)
        if self._options.forecast is not no_forecast:
            self._options.forecast(seconds_of(stages, measured_rate()))
        with whole_stage(self._options.progress, "tensors", stages["tensors"]):
            findings = self._run_on_tensors(findings)
            return findings, unusable_tensor(self._source, self._references, findings.tensors)

    @cached_property
    def _forecast(self) -> Forecast:
        """Predict the work; only for a directory of the source's shape."""
        return forecast_of(self._as_file, self._source, directory=True)

    def _run_on_tensors(self, findings: CheckFindings) -> CheckFindings:
        found = self._store.get("tensors", FoundTensors)
        if found is None:
            found = check_tensors(self._as_file, self._source)
            self._store.put("tensors", found)
        differing = list(found.differing)
        return replace(
            findings.with_checks(self._with_place(found.verdict)),
            tensors=tuple(found.reports),
            diagnosis=self._diagnosis(differing) if differing else None,
        )

    def _diagnosis(self, differing: list[str]) -> Diagnosis | None:
        """Return what was done wrong with the tensors that differ, said of the rows as the directory has them.

        The tensors are compared in llama2.c's order, so a mistake with the order looks like its opposite.
        """
        found = diagnose_tensors(self._as_file, self._source, differing)
        if found is None or found.signature not in _ORDERS:
            return found
        verb = "holds" if len(found.tensors) == 1 else "hold"
        rest = "" if found.explained == 1 else "; this leaves other differing tensors unexplained"
        name, what = _ORDERS[found.signature]
        return replace(found, signature=name, sentence=f"{subject(found.tensors)} {verb} {what}{rest}")

    def _with_place(self, verdict: CheckResult) -> CheckResult:
        """Say where the element stands in the directory, whose names and order of rows are others."""
        at = verdict.where
        if verdict.status != "fail" or not at.get("index"):
            return verdict
        place = self._directory.place(at["tensor"], at["index"])
        return replace(verdict, detail=f"{verdict.detail}; in {place}", where={**at, "stored": place})

    def _run_on_windows(self, findings: CheckFindings) -> CheckFindings:
        """Run the checks that run the model."""
        windows = self._job.windows
        try:
            compared = self._judge_windows()
        except NotRunError as error:
            detail = f"transformers on the directory: {error}"
            reason = "transformers does not run the directory"
            rest = (skipped(name, bound, reason) for name, bound in _ON_WINDOWS[1:])
            return findings.with_checks(exact("execution", 1, detail), *rest)
        lengths = [len(window.tokens) for window in windows]
        undecided = Undecided.of((lengths[found.number], found.certainty) for found in compared if found.certainty)
        execution = undecided.beside(self._execution(compared))
        findings = replace(findings.with_checks(execution), undecided=undecided)
        evidence = [window.evidence for window in compared if window.evidence is not None]
        if len(evidence) < len(compared):
            detail = "logits, the directory's or the source's, are not finite"
            storage = skipped("storage", "statistical", "logits are not finite")
            return findings.with_checks(storage, exact("quantization", 1, detail))
        with whole_stage(self._options.progress, "storage", self._forecast.of_storage(windows)):
            findings = findings.with_checks(self._check_storage())
        metrics = with_text(summarise(evidence), self._options.evidence, windows, self._source)
        lossless = self._references.same_numbers
        return replace(
            findings.with_checks(check_quantization(metrics, None, self._policy.quantization, lossless=lossless)),
            metrics=metrics,
            windows=tuple(of_window(n, "fp32", windows[n].tokens, one) for n, one in enumerate(evidence)),
            certificates=all_certificates([window.certificates for window in compared]),
        )

    def _check_storage(self) -> CheckResult:
        """Judge what a narrower type costs by what honest rounding to it costs."""
        if self._references.same_numbers:
            return lossless()
        hyper, windows, seed = self._source.hyperparameters, self._job.windows, int(self._job.sha256[:8], 16)
        batches = storage_batches(hyper, windows)
        inputs = self._as_file, hyper, self._references, windows
        costs = self._store.each(
            [f"storage-{batch[0]}" for batch in batches],
            HonestCost,
            lambda places: (storage_cost(*inputs, batches[place], int8=False, seed=seed) for place in places),
        )
        return storage_verdict(reduce(HonestCost.merged, costs, HonestCost()))

    def _execution(self, compared: list[_Window]) -> CheckResult:
        execution, agreement = Execution(), Execution()
        for window in compared:
            execution.merge(window.execution)
            agreement.merge(window.agreement)
        limit = self._policy.execution.noise_sigmas
        return disagreement(agreement) or execution.verdict("transformers on the directory", limit)

    def _judge_windows(self) -> list[_Window]:
        """Run every window by both sides."""
        windows, hyper = self._job.windows, self._source.hyperparameters
        compared: list[_Window] = []
        batches = list(batches_of(windows, list(range(len(windows))), hyper))
        works = self._forecast.of_windows(windows, batches)
        meter = Meter(self._options.progress, "windows", sum(works))
        for found in meter.each(map(self._compared, batches), works):
            compared += found
        self._references.done_with_logits()
        self._engine = None
        give_back()
        return compared

    def _compared(self, batch: list[int]) -> tuple[_Window, ...]:
        """Run one batch by both sides; one that an earlier run stored is not run again."""
        stored = self._store.get(f"compare-{batch[0]}", _Compared)
        if stored is None:
            tokens = self._tokens(batch)
            references = self._references.of(tokens, batch, agree=agrees(self._job.windows, batch))
            if self._engine is None:
                self._engine = DirectoryEngine(self._directory.path)
            logits = self._engine.logits(tokens)
            stored = _Compared(tuple(map(self._compare, batch, references, logits)))
            self._store.put(f"compare-{batch[0]}", stored)
        return stored.windows

    def _compare(self, number: int, reference: WindowReference, logits: NDArray[np.float32]) -> _Window:
        window, limit = self._job.windows[number], self._policy.execution.noise_sigmas
        of_source, of_file = reference.of_source, reference.of_file
        finite = bool(np.isfinite(of_source).all() and np.isfinite(logits).all())
        evidence = compare_window(window.origin, window.tokens, of_source, of_file) if finite else None
        execution = worst_logit(number, of_file, reference.sigma, logits, limit)
        margins = reference.margins if finite else None
        certificates = None if margins is None else certificates_of(number, margins(), None)
        return _Window(number, evidence, execution, reference.agreement, certificates, reference.certainty)

    def _tokens(self, numbers: list[int]) -> torch.Tensor:
        return torch.from_numpy(np.stack([self._job.windows[number].tokens for number in numbers]))


def directory_versions() -> dict[str, str]:
    """Return {name: version} of the library that runs the directory."""
    return {"transformers": str(wanted("transformers").__version__)}


def _same_shapes(read: Hyperparameters | CannotJudgeError | None, hyper: Hyperparameters) -> bool:
    return isinstance(read, Hyperparameters) and read.shapes() == hyper.shapes()
