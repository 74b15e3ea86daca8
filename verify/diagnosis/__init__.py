"""Diagnose the most likely mistake of a writer whose tensors differ, or of an engine whose operations do."""

from __future__ import annotations

from verify.diagnosis.header import diagnose_header
from verify.diagnosis.operations import diagnose_operation
from verify.diagnosis.repeated_heads import diagnose_repeated_heads
from verify.diagnosis.result import Diagnosis
from verify.diagnosis.stage import Stage
from verify.diagnosis.tensors import diagnose_tensors

__all__ = [
    "Diagnosis",
    "Stage",
    "diagnose_header",
    "diagnose_operation",
    "diagnose_repeated_heads",
    "diagnose_tensors",
]
