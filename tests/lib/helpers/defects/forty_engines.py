"""16 mistakes of engines, seen by their logits alone, that were written down before the hints were tried on them."""

from __future__ import annotations

from dataclasses import dataclass

from helpers import toy_engine
from helpers.toy_engine import Healthy


@dataclass(frozen=True)
class EngineMistake:
    """One mistake. expected: the hint's name, "" if there must be none. says: texts that the hint must have."""

    name: str
    engine: type[Healthy]
    expected: str
    says: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


ENGINE_MISTAKES: tuple[EngineMistake, ...] = (
    EngineMistake("logits times 1.0001", toy_engine.LogitsScaled, "logits-scaled", ("1.0001",)),
    EngineMistake("logits softcapped at 30", toy_engine.LogitsCapped, "logits-capped", ("30",)),
    EngineMistake("embeddings times sqrt(dim)", toy_engine.EmbeddingScaled, "embedding-scaled", ("sqrt(dim)",)),
    EngineMistake("norm weights plus 1", toy_engine.NormPlusOne, "norm-plus-one", ("1 +",)),
    EngineMistake("the final norm left out", toy_engine.FinalNormMissing, "norm-missing", ("final norm",)),
    EngineMistake("relu for silu", toy_engine.Relu, "activation", ("relu",)),
    EngineMistake("queries one position early", toy_engine.QueriesEarly, "rope-position", ("q",)),
    EngineMistake("angles stop at position 63", toy_engine.AnglesStop, "rope-position", ("64",)),
    EngineMistake("kv head = head % n_kv_heads", toy_engine.KvHeadsModulo, "kv-heads", ("head % n_kv_heads",)),
    EngineMistake("pairs of two halves", toy_engine.HalfSplit, "rope-half-split", ("head_dim / 2",)),
    EngineMistake("a cache of 64 places", toy_engine.WindowOf64, "attention-window", ("64",)),
    EngineMistake("one token's embedding wrong", toy_engine.OneTokenWrong, "one-embedding", ("token 7",)),
    EngineMistake("values one place late", toy_engine.ValuesLate, "stale-cache", ("values",)),
    EngineMistake("scores over head_dim", toy_engine.ScoresOverHeadSize, "score-scale", ("head_dim",)),
    EngineMistake("a cache in half precision", toy_engine.HalfPrecisionCache, "cache-narrowed", ("fp16",)),
    EngineMistake("noise of 0.1 %", toy_engine.Noisy, ""),
)
