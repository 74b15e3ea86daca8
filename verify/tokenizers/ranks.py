"""Derive the rules of Llama 3's tokenizer.model, in tiktoken's format, from its ranks.

Source: class Tokenizer of github.com/meta-llama/llama3, llama/tokenizer.py, and of llama-models for Llama 3.1.
"""

from __future__ import annotations

from verify.tokenizers.rules import SPECIAL, Rules, SourceRules

_RESERVED = "<|reserved_special_token_{}|>"
_SPECIAL_TOKENS = 256
_LLAMA_3 = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    9: "<|eot_id|>",
}
# Hugging Face's conversion of Llama 3.1, and Meta's own code.
_CONVERTED = {**_LLAMA_3, 4: "<|finetune_right_pad_id|>", 8: "<|eom_id|>", 10: "<|python_tag|>"}
_LLAMA_3_1 = {**_CONVERTED, 5: "<|step_id|>"}


def rules_of_ranks(ranks: dict[bytes, int]) -> SourceRules:
    """Return the rules: each rank is an id, and the special tokens, which the file does not name, follow the last."""
    count = len(ranks)
    llama_3 = _names(_LLAMA_3)
    others = zip(_names(_CONVERTED), _names(_LLAMA_3_1), strict=True)
    rules = Rules(
        kind="bytes",
        pieces=(*ranks, *llama_3),
        merges=merges_of(ranks),
        added={count + n: SPECIAL for n in range(_SPECIAL_TOKENS)},
        pre_tokenizer="llama3",
        ignore_merges=True,
        add_bos=True,
        bos=count,
        ends=(count + 1, count + 9),
    )
    return SourceRules(
        rules,
        eos=frozenset((count + 1, count + 9)),
        ends=frozenset((count + 1, count + 8, count + 9)),
        pieces={count + n: frozenset(names) for n, names in enumerate(others)},
        more_merges=True,
    )


def _names(known: dict[int, str]) -> list[bytes]:
    """Return the names of the special tokens: those without one of their own are numbered one after another."""
    numbers = iter(range(_SPECIAL_TOKENS))
    return [(known.get(n) or _RESERVED.format(next(numbers))).encode() for n in range(_SPECIAL_TOKENS)]


def merges_of(ranks: dict[bytes, int]) -> tuple[tuple[int, int], ...]:
    """Return the one pair that makes each token, by rank.

    The pair that tiktoken merges into a token is what its bytes are merged into by all earlier ranks: within the
    token no other pair can be left at that time.
    """
    merges = []
    for token, rank in ranks.items():
        parts = _parts_before(token, rank, ranks)
        # a token that no two parts make is reached only as a whole pre-token, and a byte has one part
        if len(parts) == 2:
            merges.append((ranks[parts[0]], ranks[parts[1]]))
    return tuple(merges)


def _parts_before(token: bytes, rank: int, ranks: dict[bytes, int]) -> list[bytes]:
    """Merge a token's bytes by the ranks below its own, the lowest and then the leftmost first."""
    parts = [token[at : at + 1] for at in range(len(token))]
    while True:
        pairs = [ranks.get(parts[at] + parts[at + 1], rank) for at in range(len(parts) - 1)]
        lowest = min(pairs, default=rank)
        if lowest >= rank:
            return parts
        at = pairs.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
