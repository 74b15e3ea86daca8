"""The format, storage and group size that a release requested.

The verifier does not trust the exporter to have written them: a file of another format or storage would be judged by
its own, looser limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import reader_c
from verify.sources import Source

# an int32 holds the sum of so many products of 127 and 128
_LARGEST_GROUP = (2**31 - 1) // (127 * 128)


@dataclass(frozen=True)
class Requested:
    """The request, in the words of the command line.

    format: v0, v1, v1-fp32, v2, v3, ajc1 or hf. group_size: the largest that is allowed. storage: of v3, one for all
    tensors, or by patterns of their names; the last pattern that matches counts.
    """

    format: str
    group_size: int
    storage: str | Mapping[str, str] = "source"

    def unlike(self, model: reader_c.Model, source: Source) -> dict[str, tuple[object, object]]:
        """Return {field: (requested, found)} for each field in which the file differs from the request."""
        if model.format != self.format:
            return {"format": (self.format, model.format)}
        if self.format in ("v1", "v2", "ajc1"):
            hyper = source.hyperparameters
            widths = hyper.dim, hyper.hidden_dim, hyper.n_heads * hyper.head_dim
            requested = self._halved(*widths) if self.format == "ajc1" else self._group(*widths)
            found = model.config.group_size
            return {} if requested == found else {"group_size": (requested, found)}
        if self.format not in ("v3", "hf"):
            return {}
        wrong: dict[str, tuple[object, object]] = {}
        for name, shape in source.hyperparameters.shapes().items():
            how = model.storage(name)
            storage = self._storage(name, is_vector=len(shape) == 1)
            # a router decides which experts compute, so it is never quantized
            if storage is None or (storage == "q8_0" and name.endswith(".router.weight")):
                storage = source.dtype(name)
            group_size = self._group(shape[-1]) if storage == "q8_0" else 0
            if storage != how.storage:
                wrong[f"{name}: storage"] = storage, how.storage
            elif group_size != how.group_size:
                wrong[f"{name}: group_size"] = group_size, how.group_size
        return wrong

    def _group(self, *widths: int) -> int:
        """The largest group size that lets no group straddle two rows."""
        most = min(self.group_size, _LARGEST_GROUP, *widths)
        return next(group for group in range(most, 0, -1) if not any(width % group for width in widths))

    def _halved(self, *widths: int) -> int:
        """The group size that was requested, halved until no group straddles two rows."""
        tried = (self.group_size >> times for times in range(self.group_size.bit_length()))
        return next(size for size in tried if size <= _LARGEST_GROUP and not any(width % size for width in widths))

    def _storage(self, name: str, *, is_vector: bool) -> str | None:
        """None: the source's own dtype, as for every vector whose request is not fp32."""
        patterns = {"*": self.storage} if isinstance(self.storage, str) else self.storage
        matching = [choice for pattern, choice in patterns.items() if fnmatchcase(name, pattern)]
        last = matching[-1] if matching else "source"
        return None if last == "source" or (is_vector and last != "fp32") else last
