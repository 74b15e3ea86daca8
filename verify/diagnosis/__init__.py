"""What was most likely done wrong: by the writer, where tensors are not what the source gives, or by the engine,
where an operation is not what its inputs give."""

from __future__ import annotations

from verify.diagnosis.operations import Stage, diagnose_operation
from verify.diagnosis.result import Diagnosis
from verify.diagnosis.tensors import diagnose_tensors

__all__ = ["Diagnosis", "Stage", "diagnose_operation", "diagnose_tensors"]
