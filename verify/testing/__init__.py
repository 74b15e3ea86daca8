"""For tests of other projects: Hypothesis strategies that draw models, and an assertion that their files are right.

    @given(checkpoints())
    def test_what_we_export_is_what_we_have(checkpoint):
        assert_roundtrip(checkpoint, format="v3")

It requires hypothesis: pip install 'export-and-verify[testing]'.
"""

from __future__ import annotations

try:
    from verify.testing.numbers import checkpoints, random_arrays, token_windows, weights
    from verify.testing.shapes import configs, rope_scalings
except ImportError as error:
    if (error.name or "").partition(".")[0] != "hypothesis":
        raise
    raise ImportError(
        "hypothesis: required for verify.testing and could not be imported: pip install 'export-and-verify[testing]'"
    ) from error
from verify.testing.roundtrip import assert_roundtrip, source_of

__all__ = [
    "assert_roundtrip",
    "checkpoints",
    "configs",
    "random_arrays",
    "rope_scalings",
    "source_of",
    "token_windows",
    "weights",
]
