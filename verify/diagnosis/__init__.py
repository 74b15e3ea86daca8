"""What the writer most likely did, for a file whose tensors are not what the source gives."""

from __future__ import annotations

from verify.diagnosis.result import Diagnosis
from verify.diagnosis.tensors import diagnose_tensors

__all__ = ["Diagnosis", "diagnose_tensors"]
