"""Notes of a report about evidence or a file that is legal and says or saves little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verify.checks.digits import counted
from verify.evidence import Window

# A perplexity over fewer predictions moves by tens of percent with the choice of the text.
FEW_PREDICTIONS = 100


def cautions(config: Mapping[str, Any], windows: Sequence[Window]) -> tuple[str, ...]:
    """Return what a reader should know beside the verdict. config: of the file; windows: that it was judged on."""
    found = []
    if config.get("group_size") == 1:
        found.append("group size 1: a weight takes 5 bytes, and 4 as float32: the file would be smaller as v1-fp32")
    for origin in ("text", "tokens"):
        predictions = sum(len(window.tokens) - 1 for window in windows if window.origin == origin)
        if 0 < predictions < FEW_PREDICTIONS:
            found.append(
                f"{origin}: its perplexity is over {counted(predictions, 'prediction')}, which says little: "
                f"give at least {FEW_PREDICTIONS + 1} tokens"
            )
    return tuple(found)
