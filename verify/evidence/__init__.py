"""The evidence that a file is judged on: windows of tokens, and how deep the checks look into them."""

from verify.evidence.collect import Evidence
from verify.evidence.window import Window

__all__ = ["Evidence", "Window"]
