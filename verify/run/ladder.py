"""The checks in their order, over windows of tokens judged one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.attribution.logit_error import Closure
from verify.attribution.storage_cost import Attribution
from verify.checks.config import check_config, same_shapes
from verify.checks.file import check_file
from verify.checks.metrics import Metrics, WindowMetrics, of_window, summarise
from verify.checks.operations import LayerReport
from verify.checks.quantization import check_quantization
from verify.checks.result import Bound, CheckResult, exact, skipped
from verify.checks.tensors import FoundTensors, TensorReport, check_tensors
from verify.diagnosis import Diagnosis, diagnose_tensors
from verify.engine.command import Engine
from verify.engine.trial import Trial
from verify.evidence import Evidence, Window
from verify.evidence.depth import traced_windows
from verify.evidence.tokenizers import decode
from verify.run.cost import batches_of
from verify.run.memory import give_back
from verify.run.progress import Progress
from verify.run.reference_logits import References
from verify.run.requested import Asked
from verify.run.resume import Kept
from verify.run.traced_windows import Proof, Proven
from verify.run.worker import ARITHMETIC, ComparedWindow, Job, Parts, Task
from verify.sources import Source

# What looking into a window weighs on the progress bar, against running it.
_PROOF_STEPS = 20


class Judgement:
    """One file under judgement: fills checks, metrics and tensors."""

    def __init__(
        self,
        model: reader_c.Model,
        source: Source,
        job: Job,
        max_seq_len: int,
        engine: Engine | None,
        kept: Kept,
        progress: Progress,
    ) -> None:
        self._model, self._source, self._job, self._policy = model, source, job, job.policy
        self._max_seq_len, self._kept, self._progress = max_seq_len, kept, progress
        self._references = References(source, model, job.memory)
        weights = self._references.file_weights
        self.trial = None if engine is None else Trial(engine, model, source.hyperparameters, weights, job.policy)
        self._cluster: str | None = None
        self._count: int | None = None
        self.checks: list[CheckResult] = []
        self.tensors: list[TensorReport] = []
        self.layers: tuple[LayerReport, ...] = ()
        self.diagnosis: Diagnosis | None = None
        self.closure: Closure | None = None
        self.attribution: Attribution | None = None
        self.metrics: Metrics | None = None
        self.metrics_q8: Metrics | None = None
        self.windows: list[WindowMetrics] = []

    def on_cluster(self, address: str, workers: int | None) -> None:
        self._cluster, self._count = address, workers

    @property
    def versions(self) -> dict[str, str]:
        return self._references.versions

    def run(self, windows: list[Window], evidence: Evidence, asked: Asked | None = None) -> None:
        hyper = self._source.hyperparameters
        same = same_shapes(self._model, hyper)
        unlike = asked.unlike(self._model, self._source) if asked and same else None
        self.checks.append(check_config(self._model, hyper, self._max_seq_len, unlike))
        if not same or self._model.config.max_seq_len < self._max_seq_len:
            later: tuple[tuple[str, Bound], ...] = (("file", "exact"), ("tensors", "exact"), *self._of_logits)
            reason = "the file is of another shape than the source"
            self.checks += [skipped(name, bound, reason) for name, bound in later]
            return
        self.checks.append(check_file(self._model, self._source, self._max_seq_len))
        found = self._kept.get("tensors", FoundTensors)
        if found is None:
            found = check_tensors(
                self._model, self._source, lambda done, total: self._progress("tensors", done, total)
            )
            self._kept.put("tensors", found)
        self.checks.append(found.verdict)
        self.tensors = list(found.reports)
        if found.differing:
            self.diagnosis = diagnose_tensors(self._model, self._source, list(found.differing))
        if self._unusable():
            return
        self._run_windows(windows, evidence)

    @property
    def _of_logits(self) -> tuple[tuple[str, Bound], ...]:
        """The checks that run the model, in their order."""
        on_trial: tuple[tuple[str, Bound], ...] = () if self.trial is None else (("engine", "statistical"),)
        return (("operations", "rigorous"), ("execution", "statistical"), *on_trial, ("quantization", "policy"))

    def _unusable(self) -> bool:
        """A source with a NaN or infinity has no logits to compare with."""
        for name in self._source.hyperparameters.shapes():
            if not torch.isfinite(self._references.source_weights(name)).all():
                reason = f"the source's {name} holds a NaN or an infinity"
                self.checks += [skipped(check, bound, reason) for check, bound in self._of_logits]
                return True
        return False

    def _run_windows(self, windows: list[Window], evidence: Evidence) -> None:
        hyper = self._source.hyperparameters
        chosen = traced_windows(windows, evidence.depth)
        kept_logits: dict[int, NDArray[np.float64]] = {}
        compared: list[ComparedWindow] = []
        steps, done = len(windows) + _PROOF_STEPS * len(chosen), 0
        proof = Proof(self._model, hyper, self._references, ARITHMETIC, self._policy, self.trial)
        with self._workers() as workers:
            for batch in self._compared(workers, list(batches_of(windows, list(range(len(windows))), hyper))):
                for found in batch:
                    if found.kept is not None:
                        kept_logits[found.number] = found.kept
                    compared.append(dataclasses.replace(found, kept=None))
                    done += 1
                    self._progress("windows", done, steps)
            workers.done_with_source()
            give_back()
            # a few more at a time, because weights are derived anew for each batch
            batches = list(batches_of(windows, chosen, hyper, times=2))
            for numbers, proven in zip(batches, self._proven(workers, batches, kept_logits), strict=True):
                proof.merge(proven)
                give_back()
                done += _PROOF_STEPS * len(numbers)
                self._progress("windows", done, steps)
        self.checks += proof.verdicts()
        self.layers, self.attribution = proof.operations.layers, proof.attribution
        self.diagnosis = self.diagnosis or proof.diagnosis
        if evidence.depth == "full" and proof.wrong_in_float:
            self.closure = proof.close(windows)
        if not all(found.finite for found in compared):
            self.checks.append(
                exact(
                    "quantization",
                    1,
                    "logits, the file's by float32 or int8 activations or the source's, are not finite",
                )
            )
            return
        plain = [found.plain for found in compared if found.plain is not None]
        q8 = [found.q8 for found in compared if found.q8 is not None]
        self.metrics = self._with_text(summarise(plain), windows, evidence)
        self.metrics_q8 = self._with_text(summarise(q8), windows, evidence) if q8 else None
        for activations, of_all in (("fp32", plain), ("q8", q8)):
            self.windows += [of_window(n, activations, windows[n].tokens, e) for n, e in enumerate(of_all)]
        self.checks.append(check_quantization(self.metrics, self._policy.quantization))

    def _compared(self, workers: Workers, batches: list[list[int]]) -> Iterator[tuple[ComparedWindow, ...]]:
        """In the batches' order; what an earlier run kept is not done again."""
        found = {batch[0]: self._kept.get(f"compare-{batch[0]}", _Compared) for batch in batches}
        fresh = workers.compare([batch for batch in batches if found[batch[0]] is None])
        for batch in batches:
            earlier = found.pop(batch[0])
            if earlier is None:
                earlier = _Compared(next(fresh))
                self._kept.put(f"compare-{batch[0]}", earlier)
            yield earlier.windows

    def _proven(
        self, workers: Workers, batches: list[list[int]], logits: dict[int, NDArray[np.float64]]
    ) -> Iterator[Proven]:
        found = [self._kept.get(f"prove-{batch[0]}", Proven) for batch in batches]
        tasks = (
            (batch, np.stack([logits.pop(number) for number in batch]), batch is batches[0])
            for batch, earlier in zip(batches, found, strict=True)
            if earlier is None
        )
        fresh = workers.prove(tasks)
        for batch, earlier in zip(batches, found, strict=True):
            proven = earlier
            if proven is None:
                proven = next(fresh)
                self._kept.put(f"prove-{batch[0]}", proven)
            yield proven

    @contextmanager
    def _workers(self) -> Iterator[Workers]:
        """Who does the parts: this process, or a cluster's."""
        if self._cluster is None:
            yield Parts(self._job, self._model, self._source, self._references, self.trial)
            return
        from verify.run.ray_cluster import Cluster  # noqa: PLC0415  # optional

        with Cluster(self._cluster, self._count, self._job) as cluster:
            yield cluster

    def _with_text(self, metrics: Metrics, windows: list[Window], evidence: Evidence) -> Metrics:
        """The worst positions with the text that leads to them, where there is a tokenizer."""
        if evidence.text is None:
            return metrics
        tokenizer = evidence.tokenizer or self._source.tokenizer_path
        worst = tuple(
            dataclasses.replace(
                at, text=decode(tokenizer, windows[at.window].tokens[: at.position + 1].tolist())[-80:]
            )
            if windows[at.window].origin == "text"
            else at
            for at in metrics.worst_positions
        )
        return dataclasses.replace(metrics, worst_positions=worst)


@dataclasses.dataclass(frozen=True)
class _Compared:
    """A batch, as it is kept."""

    windows: tuple[ComparedWindow, ...]


class Workers(Protocol):
    """Parts of this process, or a cluster."""

    def compare(self, batches: Sequence[list[int]], /) -> Iterator[tuple[ComparedWindow, ...]]: ...

    def prove(self, tasks: Iterable[Task], /) -> Iterator[Proven]: ...

    def done_with_source(self) -> None: ...
