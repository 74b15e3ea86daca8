"""The ladder: the checks in their order, over windows of tokens that are judged one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import chain

import reader_c
from verify.checks.certificates import all_certificates
from verify.checks.config import check_config, same_shapes
from verify.checks.execution import WorstLogit
from verify.checks.file import check_file
from verify.checks.metrics import of_window, summarise
from verify.checks.quantization import check_quantization
from verify.checks.result import Bound, CheckResult, exact, skipped
from verify.checks.storage import HonestCost, lossless
from verify.checks.storage import verdict as storage_verdict
from verify.checks.tensors import FoundTensors, check_tensors
from verify.checks.tokenizer import unread
from verify.diagnosis import Diagnosis, diagnose_header, diagnose_repeated_heads, diagnose_tensors
from verify.engine.trial import Trial
from verify.evidence.depth import traced_windows
from verify.run.check_findings import CheckFindings, unusable_tensor, with_text
from verify.run.compared_windows import ARITHMETICS, ComparedWindow, FirstPositions
from verify.run.cost import batches_of
from verify.run.execution_verdict import execution_verdict, float_execution
from verify.run.forecast import Forecast, forecast_of, measured_rate, seconds_of
from verify.run.honest_storage import storage_batches
from verify.run.memory import give_back
from verify.run.options import Options
from verify.run.progress import Meter, no_forecast, whole_stage
from verify.run.reference_logits import References
from verify.run.resume import EvidenceStore
from verify.run.traced_windows import Traced, Tracer, merge_operations
from verify.run.undecided import Undecided
from verify.run.worker import Job, Worker, Workers
from verify.run.written_tokenizer import judge_tokenizers, predicted_work, tokenizer_place, written_tokenizers
from verify.sources import Source


class Ladder:
    """Runs the checks on one file."""

    def __init__(
        self,
        model: reader_c.Model,
        source: Source,
        job: Job,
        max_seq_len: int,
        options: Options,
        store: EvidenceStore,
    ) -> None:
        self._model, self._source, self._job, self._policy = model, source, job, job.policy
        self._max_seq_len, self._options, self._store = max_seq_len, options, store
        self._references = References(source, model, job.memory)
        self._written = written_tokenizers(model, options.tokenizer_file)
        engine, weights = options.engine, self._references.file_weights
        self._trial = None if engine is None else Trial(engine, model, source.hyperparameters, weights, job.policy)

    def run(self) -> CheckFindings:
        """Run every check that can run; those that cannot are skipped, with the reason."""
        findings, comparable = self._run_on_bytes()
        if comparable:
            findings = self._run_on_windows(findings)
        trial = self._trial
        return replace(findings, versions=self._references.versions, engine=None if trial is None else trial.report)

    def _run_on_bytes(self) -> tuple[CheckFindings, bool]:
        """Run `config`, `file` and `tensors`. False: no logits can be compared, and all other checks are skipped."""
        hyper, requested = self._source.hyperparameters, self._options.requested
        same = same_shapes(self._model, hyper)
        unlike = requested.unlike(self._model, self._source) if requested and same else None
        config = check_config(self._model, hyper, self._max_seq_len, unlike)
        if not same or self._model.config.max_seq_len < self._max_seq_len:
            reason = "the file is of another shape than the source"
            tokenizer: tuple[tuple[str, Bound], ...] = (("tokenizer", "exact"),) if self._written else ()
            skipped_ones = _skipped((("file", "exact"), *tokenizer, ("tensors", "exact"), *self._on_windows), reason)
            reports = tuple(unread(one, tokenizer_place(self._source)) for one in self._written)
            found = diagnose_repeated_heads(self._model, self._source) or self._of_header()
            return CheckFindings((config, *skipped_ones), tokenizers=reports, diagnosis=found), False
        stages = self._forecast.stages(self._job.windows, self._job.depth)
        if self._written:
            stages = {"tokenizer": predicted_work(self._written, self._job.depth), **stages}
        if self._options.forecast is not no_forecast:
            self._options.forecast(seconds_of(stages, measured_rate()))
        of_tokenizers = CheckFindings()
        if self._written:
            with whole_stage(self._options.progress, "tokenizer", stages["tokenizer"]):
                of_tokenizers = judge_tokenizers(self._written, self._source, self._options)
        with whole_stage(self._options.progress, "tensors", stages["tensors"]):
            return self._run_on_tensors(config, of_tokenizers)

    def _run_on_tensors(self, config: CheckResult, of_tokenizers: CheckFindings) -> tuple[CheckFindings, bool]:
        """Run `file` and `tensors`, and see whether the source has logits."""
        file = check_file(self._model, self._source, self._max_seq_len)
        tensors = self._check_tensors()
        differing = list(tensors.differing)
        findings = CheckFindings(
            checks=(config, file, *of_tokenizers.checks, tensors.verdict),
            tensors=tuple(tensors.reports),
            diagnosis=of_tokenizers.diagnosis
            or (diagnose_tensors(self._model, self._source, differing) if differing else None),
            tokenizers=of_tokenizers.tokenizers,
        )
        unusable = unusable_tensor(self._source, self._references, tensors.reports)
        if unusable is None:
            return findings, True
        return findings.with_checks(*_skipped(self._on_windows, unusable)), False

    def _of_header(self) -> Diagnosis | None:
        return diagnose_header(self._model, self._source.hyperparameters, self._max_seq_len)

    def _of_header_or(self, of_engine: Diagnosis | None) -> Diagnosis | None:
        """Blame a wrong header before the engine that follows it; the mistake keeps its name."""
        of_header = self._of_header()
        if of_header is None or of_engine is None:
            return of_header or of_engine
        return replace(of_header, signature=of_engine.signature)

    def _check_tensors(self) -> FoundTensors:
        found = self._store.get("tensors", FoundTensors)
        if found is None:
            found = check_tensors(self._model, self._source)
            self._store.put("tensors", found)
        return found

    @cached_property
    def _forecast(self) -> Forecast:
        """Predict the work; only for a file of the source's shape."""
        return forecast_of(self._model, self._source)

    @property
    def _on_windows(self) -> tuple[tuple[str, Bound], ...]:
        """The checks that run the model, in their order."""
        engine: tuple[tuple[str, Bound], ...] = () if self._trial is None else (("engine", "statistical"),)
        costs: tuple[tuple[str, Bound], ...] = (("storage", "statistical"), ("quantization", "policy"))
        return (("operations", "rigorous"), ("execution", "statistical"), *engine, *costs)

    def _run_on_windows(self, findings: CheckFindings) -> CheckFindings:
        """Run the checks that run the model."""
        with self._workers() as workers:
            compared, traced = self._judge_windows(workers)
            with whole_stage(self._options.progress, "storage", self._forecast.of_storage(self._job.windows)):
                storage = self._check_storage(workers, compared)
        floats = float_execution(_by_arithmetic(compared), self._policy.execution.noise_sigmas)
        execution = execution_verdict(
            floats, [found.agreement for found in compared], traced.same_bits, merge_operations(traced.replays)
        )
        undecided = _undecided(compared, [len(window.tokens) for window in self._job.windows])
        trial_verdict = () if self._trial is None else (undecided.beside(self._trial.verdict()),)
        findings = replace(
            findings.with_checks(traced.verdict(self._policy), undecided.beside(execution), *trial_verdict),
            undecided=undecided,
            layers=traced.layers,
            storage_cost=traced.storage_cost,
            diagnosis=findings.diagnosis or self._of_header_or(traced.diagnosis),
        )
        wrong = floats.status == "fail" or traced.wrong_in_float(floats.where.get("arithmetic", ""))
        if self._job.depth == "full" and wrong:
            tracer = Tracer(self._model, self._source.hyperparameters, self._references, self._job.depth)
            findings = replace(findings, logit_error=tracer.explain(floats.where, self._job.windows))
        return self._with_metrics(findings.with_checks(storage), compared)

    def _judge_windows(self, workers: Workers) -> tuple[list[ComparedWindow], Traced]:
        """Compare every window with the references, then trace the windows that the depth asks for."""
        windows, hyper = self._job.windows, self._source.hyperparameters
        numbers = traced_windows(windows, self._job.depth)
        first_positions: dict[int, FirstPositions] = {}
        compared: list[ComparedWindow] = []
        batches = list(batches_of(windows, list(range(len(windows))), hyper))
        works = self._forecast.of_windows(windows, batches)
        meter = Meter(self._options.progress, "windows", sum(works))
        for found in chain.from_iterable(meter.each(self._compared(workers, batches), works)):
            if found.first_positions is not None:
                first_positions[found.number] = found.first_positions
            compared.append(replace(found, first_positions=None))
        workers.done_with_logits()
        give_back()
        traced = Traced()
        # twice as many at a time, because the weights are derived again for each batch
        batches = list(batches_of(windows, numbers, hyper, times=2))
        works = self._forecast.of_operations(windows, batches, self._job.depth)
        meter = Meter(self._options.progress, "operations", sum(works))
        for found_here in meter.each(self._traced(workers, batches, first_positions), works):
            traced = traced.merged(found_here)
            give_back()
        return compared, traced

    def _check_storage(self, workers: Workers, compared: list[ComparedWindow]) -> CheckResult:
        """Judge what the file costs by what honest storage costs."""
        if not all(found.finite for found in compared):
            return skipped("storage", "statistical", "logits are not finite")
        if self._references.same_numbers:
            return lossless()
        batches = storage_batches(self._source.hyperparameters, self._job.windows)
        costs = self._store.each(
            [f"storage-{batch[0]}" for batch in batches],
            HonestCost,
            lambda places: workers.price([batches[place] for place in places]),
        )
        return storage_verdict(reduce(HonestCost.merged, costs, HonestCost()))

    def _with_metrics(self, findings: CheckFindings, compared: list[ComparedWindow]) -> CheckFindings:
        """Add the check `quantization`, and what it rests on."""
        windows = self._job.windows
        if not all(found.finite for found in compared):
            detail = "logits, the file's by float32 or int8 activations or the source's, are not finite"
            return findings.with_checks(exact("quantization", 1, detail))
        plain = [found.plain for found in compared if found.plain is not None]
        q8 = [found.q8 for found in compared if found.q8 is not None]
        metrics = with_text(summarise(plain), self._options.evidence, windows, self._source)
        per_window = [
            of_window(number, activations, windows[number].tokens, evidence)
            for activations, of_all in (("fp32", plain), ("q8", q8))
            for number, evidence in enumerate(of_all)
        ]
        metrics_q8 = with_text(summarise(q8), self._options.evidence, windows, self._source) if q8 else None
        findings = findings.with_checks(
            check_quantization(metrics, metrics_q8, self._policy.quantization, lossless=self._references.same_numbers)
        )
        certificates = all_certificates([found.certificates for found in compared])
        return replace(
            findings, metrics=metrics, metrics_q8=metrics_q8, windows=tuple(per_window), certificates=certificates
        )

    def _compared(self, workers: Workers, batches: list[list[int]]) -> Iterator[tuple[ComparedWindow, ...]]:
        """Compare the batches in their order, but for those that an earlier run stored."""
        names = [f"compare-{batch[0]}" for batch in batches]
        found = self._store.each(
            names, _Compared, lambda places: map(_Compared, workers.compare([batches[place] for place in places]))
        )
        return (one.windows for one in found)

    def _traced(
        self, workers: Workers, batches: list[list[int]], first_positions: dict[int, FirstPositions]
    ) -> Iterator[Traced]:
        """Trace the batches in their order, but for those that an earlier run stored."""
        tasks = [(batch, first_positions.get(batch[0])) for batch in batches]
        return self._store.each(
            [f"trace-{batch[0]}" for batch in batches],
            Traced,
            lambda places: workers.trace([tasks[place] for place in places]),
        )

    @contextmanager
    def _workers(self) -> Iterator[Workers]:
        """Yield a worker of this process, or the workers of a cluster."""
        if self._options.cluster is None:
            yield Worker(self._job, self._model, self._source, self._references, self._trial)
            return
        from verify.run.ray_cluster import Cluster  # noqa: PLC0415  # Ray is optional

        with Cluster(self._options.cluster, self._options.workers, self._job) as cluster:
            yield cluster


def _skipped(checks: tuple[tuple[str, Bound], ...], reason: str) -> tuple[CheckResult, ...]:
    return tuple(skipped(name, bound, reason) for name, bound in checks)


def _undecided(compared: list[ComparedWindow], lengths: list[int]) -> Undecided:
    """Say what was left out. lengths: of the windows."""
    return Undecided.of((lengths[found.number], found.certainty) for found in compared if found.certainty)


def _by_arithmetic(compared: list[ComparedWindow]) -> dict[str, list[WorstLogit]]:
    return {name: [dict(found.execution)[name] for found in compared] for name in ARITHMETICS}


@dataclass(frozen=True)
class _Compared:
    """One batch, as it is stored."""

    windows: tuple[ComparedWindow, ...]
