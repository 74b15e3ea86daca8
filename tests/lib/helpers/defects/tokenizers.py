"""Mistakes of who writes a tokenizer: each a change of the right rules, of a file's entries, or of what encodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.rule_blocks import PlainEncoder, block_of
from helpers.tokenizer_bins import Entry, content, from_sentencepiece
from helpers.tokenizer_families import FAMILIES, processor_of, source
from helpers.tokenizers import bytes_of_symbols
from verify.checks.tokenizer import TokenizerFindings, WrittenTokenizer, check_tokenizer
from verify.diagnosis.tokenizer import diagnose_tokenizer
from verify.tokenizers.encoders import PlainReader
from verify.tokenizers.rules import SPACE, Rules
from verify.tokenizers.source_tokenizer import open_source_tokenizer

_LETTERS = {byte: letter for letter, byte in bytes_of_symbols().items()}


@dataclass(frozen=True)
class TokenizerDefect:
    """seed: a change of Rules for a block, or of the entries for a tokenizer.bin. field: what the check must name
    first. diagnosis: the name of the mistake that the report must give, if any. engine: seed changes the rules by
    which the engine encodes, and the block is right."""

    name: str
    family: str
    seed: Callable[[Rules], Rules] | Callable[[list[Entry]], list[Entry]]
    field: str
    diagnosis: str | None
    form: str = "v3"
    engine: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class TokenizerOutcome:
    """What came of a defect. healthy: whether the same tokenizer passes without it."""

    status: str
    field: str | None
    detail: str
    diagnosis: str | None


def judged(defect: TokenizerDefect | None, family: str, directory: Path, form: str = "v3") -> TokenizerOutcome:
    """Judge a family's tokenizer with the defect, or without one."""
    path = source(family, directory)
    written = _plain(defect, path, directory) if form == "llama2c" else _block(defect, path)
    found = check_tokenizer(written, path, "quick")
    return TokenizerOutcome(
        found.verdict.status, found.verdict.where.get("field"), found.verdict.detail, _diagnosis(found)
    )


def _diagnosis(found: TokenizerFindings) -> str | None:
    if found.expected is None or found.found is None or not found.fields:
        return None
    diagnosis = diagnose_tokenizer(found.expected, found.found, found.fields)
    return None if diagnosis is None else diagnosis.signature


def _block(defect: TokenizerDefect | None, path: Path) -> WrittenTokenizer:
    right = open_source_tokenizer(path).expected.rules
    seeded = right if defect is None else defect.seed(right)  # type: ignore[arg-type]
    assert isinstance(seeded, Rules)
    block = block_of(right if defect is not None and defect.engine else seeded)
    return WrittenTokenizer("v3", block, len(seeded.pieces) + 1000, None, lambda: PlainEncoder(seeded))


def _plain(defect: TokenizerDefect | None, path: Path, directory: Path) -> WrittenTokenizer:
    entries = from_sentencepiece(processor_of(path))
    seeded = entries if defect is None else defect.seed(entries)  # type: ignore[arg-type]
    assert isinstance(seeded, list)
    file = directory / "tokenizer.bin"
    file.write_bytes(content(seeded))
    vocab_size = len(seeded)
    return WrittenTokenizer(
        "llama2c", file.read_bytes(), vocab_size, str(file), lambda: PlainReader(file, vocab_size)
    )


# ---- changes of rules ----


def put(**fields: object) -> Callable[[Rules], Rules]:
    return lambda rules: replace(rules, **fields)  # type: ignore[arg-type]


def _sorted_merges(rules: Rules) -> Rules:
    return replace(rules, merges=tuple(sorted(rules.merges, key=lambda m: (rules.pieces[m[0]], rules.pieces[m[1]]))))


def _without_added(rules: Rules) -> Rules:
    last = max(token for token in rules.added if rules.pieces[token] == b"<|im_end|>")
    return replace(rules, added={token: flags for token, flags in rules.added.items() if token != last})


def _shifted(rules: Rules) -> Rules:
    """A padding token first, and every id one later."""
    return replace(
        rules,
        pieces=(b"<pad>", *rules.pieces),
        merges=tuple((a + 1, b + 1) for a, b in rules.merges),
        added={token + 1: flags for token, flags in rules.added.items()},
        eos=rules.eos + 1,
        ends=tuple(token + 1 for token in rules.ends),
    )


def _swapped(rules: Rules) -> Rules:
    """Two pieces that no merge needs."""
    used = {token for pair in rules.merges for token in pair}
    a, b = [n for n, piece in enumerate(rules.pieces) if n not in used and n not in rules.added and len(piece) > 1][
        :2
    ]
    pieces = list(rules.pieces)
    pieces[a], pieces[b] = pieces[b], pieces[a]
    return replace(rules, pieces=tuple(pieces))


def _as_letters(rules: Rules) -> Rules:
    def letters(piece: bytes) -> bytes:
        return "".join(_LETTERS[byte] for byte in piece).encode()

    pieces = (piece if n in rules.added else letters(piece) for n, piece in enumerate(rules.pieces))
    return replace(rules, pieces=tuple(pieces))


def _without_tail(rules: Rules) -> Rules:
    kept = min(rules.added)
    return replace(rules, pieces=rules.pieces[:kept], added={}, eos=-1, ends=())


def _scores(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Rules], Rules]:
    def seed(rules: Rules) -> Rules:
        assert rules.scores is not None
        return replace(rules, scores=tuple(change(np.array(rules.scores, np.float32)).astype(np.float32).tolist()))

    return seed


def _entry_scores(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[list[Entry]], list[Entry]]:
    def seed(entries: list[Entry]) -> list[Entry]:
        made = change(np.array([score for _, score in entries], np.float32)).astype(np.float32)
        return [(piece, float(score)) for (piece, _), score in zip(entries, made, strict=True)]

    return seed


def _entry_pieces(change: Callable[[bytes], bytes]) -> Callable[[list[Entry]], list[Entry]]:
    return lambda entries: [(change(piece), score) for piece, score in entries]


def _decoded(piece: bytes) -> bytes:
    return bytes([int(piece[3:5], 16)]) if len(piece) == 6 and piece[:3] == b"<0x" else piece


OTHER_TEMPLATE = "{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"

TOKENIZER_DEFECTS = (
    TokenizerDefect("merges sorted by text", "gpt2", _sorted_merges, "merges", "merge-order"),
    TokenizerDefect(
        "merges in reverse order", "qwen2", lambda r: replace(r, merges=r.merges[::-1]), "merges", "merges-reversed"
    ),
    TokenizerDefect(
        "the first merge taken for a header",
        "byte-pairs",
        lambda r: replace(r, merges=r.merges[1:]),
        "merges",
        "first-merges-missing",
    ),
    TokenizerDefect("merges cut", "llama3", lambda r: replace(r, merges=r.merges[:-20]), "merges", "merges-cut"),
    TokenizerDefect("a special token is not in the list", "qwen2", _without_added, "added", "special-token-missing"),
    TokenizerDefect(
        "flags of added tokens lost",
        "gpt2",
        lambda r: replace(r, added=dict.fromkeys(r.added, 0)),
        "added",
        "token-flags",
    ),
    TokenizerDefect("added tokens have no pieces", "gpt2", _without_tail, "pieces", "pieces-missing"),
    TokenizerDefect("every id one late", "gpt2", _shifted, "pieces", "ids-shifted"),
    TokenizerDefect("two pieces swapped", "gpt2", _swapped, "pieces", "pieces-swapped"),
    TokenizerDefect("pieces in GPT-2's letters", "qwen2", _as_letters, "pieces", "pieces-as-letters"),
    TokenizerDefect("no byte fallback", "llama2", put(byte_fallback=False), "byte_fallback", "byte-fallback-missing"),
    TokenizerDefect("no space before the text", "llama2", put(prefix=False), "prefix", "dummy-prefix-missing"),
    TokenizerDefect(
        "extra spaces are kept", "sentencepiece", put(single_spaces=False), "single_spaces", "extra-spaces-kept"
    ),
    TokenizerDefect(
        "extra spaces are removed", "llama2", put(single_spaces=True), "single_spaces", "extra-spaces-removed"
    ),
    TokenizerDefect("a space before the text", "gpt2", put(prefix=True), "prefix", "dummy-prefix-unasked"),
    TokenizerDefect("no NFC", "qwen2", put(nfc=False), "nfc", "nfc-missing"),
    TokenizerDefect("digits not split", "smol", put(digits=False), "digits", "digits-not-split"),
    TokenizerDefect(
        "Llama 3's regular expression for Qwen's",
        "qwen2",
        put(pre_tokenizer="llama3"),
        "pre_tokenizer",
        "wrong-regex",
    ),
    TokenizerDefect(
        "GPT-2's regular expression for Llama 3's", "ranks", put(pre_tokenizer="gpt2"), "pre_tokenizer", "wrong-regex"
    ),
    TokenizerDefect("no bos", "llama3", put(add_bos=False), "add_bos", "bos-missing"),
    TokenizerDefect("another bos", "llama3", lambda r: replace(r, bos=r.bos + 1), "bos", "bos-wrong"),
    TokenizerDefect(
        "words that are pieces are merged",
        "llama3",
        put(ignore_merges=False),
        "ignore_merges",
        "ignore-merges-missing",
    ),
    TokenizerDefect("no id ends a text", "qwen2", put(ends=()), "ends", "end-ids-wrong"),
    TokenizerDefect("no chat template", "qwen2", put(template=""), "template", "template-missing"),
    TokenizerDefect(
        "the chat template of another model",
        "qwen2",
        put(template=OTHER_TEMPLATE),
        "template",
        "template-of-another-model",
    ),
    TokenizerDefect(
        "spaces for U+2581",
        "sentencepiece",
        lambda r: replace(r, pieces=tuple(piece.replace(SPACE.encode(), b" ") for piece in r.pieces)),
        "pieces",
        "space-not-marked",
    ),
    TokenizerDefect("scores negated", "sentencepiece", _scores(np.negative), "scores", "scores-negated"),
    TokenizerDefect(
        "scores in half precision", "sentencepiece", _scores(lambda s: s.astype(np.float16) / 3), "scores", None
    ),
    TokenizerDefect(
        "tokenizer.bin: scores negated",
        "sentencepiece",
        _entry_scores(np.negative),
        "scores",
        "scores-negated",
        form="llama2c",
    ),
    TokenizerDefect(
        "tokenizer.bin: scores are ids",
        "sentencepiece",
        _entry_scores(lambda s: np.arange(len(s))),
        "scores",
        "scores-are-ids",
        form="llama2c",
    ),
    TokenizerDefect(
        "tokenizer.bin: U+2581 kept",
        "sentencepiece",
        _entry_pieces(lambda piece: piece.replace(b" ", SPACE.encode())),
        "pieces",
        "space-marked",
        form="llama2c",
    ),
    TokenizerDefect(
        "tokenizer.bin: byte pieces decoded",
        "sentencepiece",
        _entry_pieces(_decoded),
        "pieces",
        "byte-pieces-decoded",
        form="llama2c",
    ),
    TokenizerDefect("the engine ignores NFC", "qwen2", put(nfc=False), "text", None, engine=True),
    TokenizerDefect("the engine misses an added token", "qwen2", _without_added, "text", None, engine=True),
    TokenizerDefect("the engine merges in another order", "gpt2", _sorted_merges, "merge", None, engine=True),
    TokenizerDefect(
        "the engine puts no space before a text", "sentencepiece", put(prefix=False), "merge", None, engine=True
    ),
)


def rows(directory: Path) -> list[tuple[TokenizerDefect, TokenizerOutcome]]:
    """Judge every defect, each in a directory of its own."""
    return [
        (defect, judged(defect, defect.family, directory / str(n), defect.form))
        for n, defect in enumerate(TOKENIZER_DEFECTS)
    ]


def page(found: Sequence[tuple[TokenizerDefect, TokenizerOutcome]], healthy: Sequence[TokenizerOutcome]) -> str:
    """Write the section of docs/defects.md about tokenizers."""
    caught = [one for one in found if one[1].status == "fail"]
    placed = [one for one in caught if one[1].field == one[0].field]
    named = [one for one in found if one[0].diagnosis]
    right = [one for one in named if one[1].diagnosis == one[0].diagnosis]
    wrong = [one for one in found if one[1].diagnosis not in (None, one[0].diagnosis)]
    lines = [
        "## Mistakes with tokenizers",
        "",
        "Each defect is seeded into the rules of a small tokenizer of one family; the check `tokenizer` judges it.",
        "In the last four the block is right, and what encodes by it is not.",
        "",
        f"- defects: {len(found)}; caught: {len(caught)}; the first finding names the right place: {len(placed)}",
        f"- diagnosed correctly: {len(right)} of {len(named)} that have a diagnosis; wrong diagnoses: {len(wrong)}",
        f"- healthy tokenizers: {len(healthy)}, of which the check blames "
        f"{sum(one.status != 'pass' for one in healthy)}",
        "",
        "| defect | family | form | tokenizer | first finding | diagnosis |",
        "|---|---|---|---|---|---|",
    ]
    for defect, outcome in found:
        said = "caught" if outcome.status == "fail" else "blind"
        lines.append(
            f"| {defect.name} | {defect.family} | {defect.form} | **{said}** | `{outcome.field}` "
            f"| {outcome.diagnosis or 'none'} |"
        )
    return "\n".join(lines) + "\n"


def healthy_outcomes(directory: Path) -> tuple[TokenizerOutcome, ...]:
    """Judge every family without a defect, in each form that it has."""
    forms = [(family, "v3") for family in FAMILIES] + [("sentencepiece", "llama2c")]
    return tuple(judged(None, family, directory / f"{family}-{form}", form) for family, form in forms)
