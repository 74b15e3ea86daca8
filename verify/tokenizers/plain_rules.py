"""Derive what llama2.c's and qwen3.c's tokenizer files must hold of a source's tokenizer, and compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from verify.tokenizers.differences import Difference, of_pieces, of_scores
from verify.tokenizers.plain_files import PlainTokens
from verify.tokenizers.rules import NONE, SPACE, Rules, SourceRules

# run.c's own ids, and where its byte pieces begin
_BOS, _FIRST_BYTE = 1, 3


def plain_expectation(source: SourceRules, form: str, vocab_size: int) -> SourceRules:
    """Return the rules with the pieces as the format has them."""
    rules = source.rules
    pieces = [*rules.pieces, *[b""] * (vocab_size - len(rules.pieces))]
    if rules.kind == "characters":
        # a literal U+2581 becomes a space, too
        pieces = [piece.replace(SPACE.encode(), b" ") for piece in pieces]
    if form == "llama2c":
        for token in (rules.bos, rules.ends[0] if rules.eos == NONE and rules.ends else rules.eos):
            if token != NONE:
                pieces[token] = b"\n" + pieces[token] + b"\n"
    return replace(source, rules=replace(rules, pieces=tuple(pieces)))


def unfit(rules: Rules, form: str) -> list[str]:
    """Return why run.c cannot encode as this tokenizer does, whatever the file holds; empty if it can."""
    if form != "llama2c":
        return []
    byte_pieces = tuple(f"<0x{byte:02X}>".encode() for byte in range(256))
    reasons = {
        "byte-level BPE": rules.kind == "bytes",
        f"a bos of {rules.bos}": rules.bos != _BOS,
        "no space before a text": not rules.prefix,
        "NFC": rules.nfc,
        "byte pieces that do not begin at id 3": rules.pieces[_FIRST_BYTE : _FIRST_BYTE + 256] != byte_pieces,
    }
    return [f"llama2.c's format cannot hold {what}" for what, so in reasons.items() if so]


def plain_differences(source: SourceRules, found: PlainTokens) -> list[Difference]:
    """Return the differences of a file from plain_expectation()."""
    rules = source.rules
    longest = max(map(len, found.pieces), default=0)
    parts: list[Difference] = list(of_pieces(source, found.pieces))
    if longest != found.longest:
        detail = f"max_token_length: expected {longest}, of the longest piece, found {found.longest}"
        parts.append(Difference("longest", detail))
    if rules.scores is not None:
        parts += of_scores(rules.scores, found.scores[: len(rules.scores)])
    elif rules.merges:
        parts += _of_ranks(rules, found.scores)
    for name, token, right, others in (
        ("bos", found.bos, rules.bos, source.bos),
        ("eos", found.eos, rules.eos, source.eos | source.ends | set(rules.ends)),
    ):
        if token is not None and token != right and token not in others:
            parts.append(Difference(name, f"{name}: expected {right}, found {token}"))
    return parts


def _of_ranks(rules: Rules, scores: Sequence[float]) -> Iterator[Difference]:
    """A source without scores has ranks: what merges earlier must have the larger score."""
    token_of = {piece: token for token, piece in enumerate(rules.pieces) if token not in rules.added}
    first_rank: dict[int, int] = {}
    for rank, (left, right) in enumerate(rules.merges):
        whole = token_of.get(rules.pieces[left] + rules.pieces[right], len(scores))
        if whole < len(scores):
            first_rank.setdefault(whole, rank)
    # in the order of their ranks, as they were found
    made = list(first_rank)
    wrong = [b for a, b in pairwise(made) if scores[a] <= scores[b]]
    if wrong:
        token = wrong[0]
        before = made[made.index(token) - 1]
        detail = (
            f"id {token}: score: expected less than {scores[before]:.9g}, that of id {before}, which merges before "
            f"it, found {scores[token]:.9g}"
        )
        yield Difference("scores", detail, token, len(wrong))
