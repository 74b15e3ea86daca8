"""What the checks found, and what every ladder of checks shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from verify.attribution.logit_error import Closure
from verify.attribution.storage_cost import Attribution
from verify.checks.certificates import Certificates
from verify.checks.metrics import Metrics, WindowMetrics
from verify.checks.operations import LayerReport
from verify.checks.result import CheckResult
from verify.checks.tensors import TensorReport
from verify.checks.tokenizer import TokenizerReport
from verify.diagnosis import Diagnosis
from verify.engine.engine_report import EngineReport
from verify.errors import NotFiniteError
from verify.evidence import Evidence, Window
from verify.evidence.tokenizers import decode
from verify.run.reference_logits import References
from verify.run.undecided import Undecided
from verify.sources import Source

# Characters of text shown before a position that differs most.
_TEXT_SHOWN = 80


@dataclass(frozen=True)
class CheckFindings:
    """Everything that the checks found, except the baseline. versions: of the libraries that judged. undecided: what
    the checks on logits left out."""

    checks: tuple[CheckResult, ...] = ()
    tensors: tuple[TensorReport, ...] = ()
    layers: tuple[LayerReport, ...] = ()
    diagnosis: Diagnosis | None = None
    logit_error: Closure | None = None
    storage_cost: Attribution | None = None
    metrics: Metrics | None = None
    metrics_q8: Metrics | None = None
    windows: tuple[WindowMetrics, ...] = ()
    certificates: Certificates | None = None
    versions: dict[str, str] = field(default_factory=dict)
    engine: EngineReport | None = None
    tokenizers: tuple[TokenizerReport, ...] = ()
    undecided: Undecided = field(default_factory=Undecided)

    @property
    def ran(self) -> set[str]:
        """Names of the checks that could run."""
        return {check.name for check in self.checks if check.status != "skipped"}

    def with_checks(self, *checks: CheckResult) -> CheckFindings:
        return replace(self, checks=(*self.checks, *checks))


def unusable_tensor(source: Source, references: References, compared: Sequence[TensorReport]) -> str | None:
    """Return why a source has no logits, which is a NaN or an infinity in a tensor; None if it has.

    compared: tensors that were compared with the file's. Those whose error is finite are not read again.
    """
    finite_error = {report.name for report in compared if math.isfinite(report.rms_error)}
    for name in source.hyperparameters.shapes():
        if name in finite_error:
            continue
        try:
            finite = bool(torch.isfinite(references.source_weights(name)).all())
        except NotFiniteError:
            finite = False
        if not finite:
            return f"the source's {name} holds a NaN or an infinity"
    return None


def with_text(metrics: Metrics, evidence: Evidence, windows: Sequence[Window], source: Source) -> Metrics:
    """Add the text before the worst positions, if the windows come from a text."""
    if evidence.text is None:
        return metrics
    tokenizer = evidence.tokenizer or source.tokenizer_path

    def text_before(window: Window, position: int) -> str:
        return decode(tokenizer, window.tokens[: position + 1].tolist())[-_TEXT_SHOWN:]

    worst = tuple(
        replace(at, text=text_before(windows[at.window], at.position)) if windows[at.window].origin == "text" else at
        for at in metrics.worst_positions
    )
    return replace(metrics, worst_positions=worst)
