"""Open a source's tokenizer: its rules by the verifier's own reading, and its library as judge."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from verify.errors import CannotJudgeError
from verify.evidence.tokenizer_files import format_of
from verify.system.reading import read_given
from verify.tokenizers.block import BlockError, parse_block
from verify.tokenizers.companions import Companions, companions_beside
from verify.tokenizers.fast_json import rules_of_json
from verify.tokenizers.libraries import FastLibrary, Library, RanksLibrary, SentencePieceLibrary
from verify.tokenizers.ranks import rules_of_ranks
from verify.tokenizers.rules import NONE, NotHeldError, Rules, SourceRules
from verify.tokenizers.sentencepiece_model import rules_of_sentencepiece

_MOST_BYTES = 1 << 28
# A text that no normalizer changes, to see what stands before and after it.
_PLAIN_TEXT = "a"


@dataclass(frozen=True)
class SourceTokenizer:
    """Holds a source's tokenizer. begin_text, end_text: what its chat template calls bos_token and eos_token.

    library: None for a v3 file, whose block no library reads.
    """

    path: Path
    expected: SourceRules
    library: Library | None
    begin_text: str
    end_text: str


def open_source_tokenizer(path: Path) -> SourceTokenizer:
    """Open any tokenizer that verify.evidence opens, with the files beside it.

    Raises CannotJudgeError for a file that no library reads, and NotHeldError for rules that no format can hold.
    """
    kind = format_of(path)
    said = companions_beside(path)
    if kind == "ranks":
        ranks = RanksLibrary(path)
        found = rules_of_ranks(ranks.ranks)
        ends = frozenset(said.ids("eos_token_id")) & found.ends
        rules = replace(found.rules, template=said.template, ends=tuple(sorted(ends)) or found.rules.ends)
        return _with_texts(path, replace(found, rules=rules), ranks, said)
    if kind == "sentencepiece":
        return _sentencepiece(path, said)
    fast = FastLibrary.of_byte_pairs(path) if kind == "byte pairs" else FastLibrary.of_json(path)
    text = fast.json() if kind == "byte pairs" else path.read_text(encoding="utf-8")
    try:
        rules = rules_of_json(json.loads(text))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CannotJudgeError(f"{path}: expected a tokenizer of known structure, found: {error!r:.200}") from error
    return _with_texts(path, _with_ids(fast, SourceRules(replace(rules, template=said.template)), said), fast, said)


def of_block(path: Path, block: bytes, vocab_size: int) -> SourceTokenizer:
    """Return the tokenizer of a v3 file that is a source. Raises CannotJudgeError for a block that breaks a rule."""
    try:
        rules = parse_block(block, vocab_size)
    except BlockError as error:
        raise CannotJudgeError(f"{path}: tokenizer block: {error}") from error
    return SourceTokenizer(path, SourceRules(rules), None, text_of(rules, rules.bos), text_of(rules, end_of(rules)))


def end_of(rules: Rules) -> int:
    """Return the id whose text a chat template calls eos_token."""
    return rules.ends[0] if rules.eos == NONE and rules.ends else rules.eos


def text_of(rules: Rules, token: int) -> str:
    """Return the text of an id; empty for none."""
    return rules.pieces[token].decode(errors="replace") if 0 <= token < len(rules.pieces) else ""


def _with_texts(path: Path, found: SourceRules, library: Library, said: Companions) -> SourceTokenizer:
    """Add the texts of bos and eos: those of the files, else the pieces."""
    begin = said.token("bos_token") or text_of(found.rules, found.rules.bos)
    end = said.token("eos_token") or text_of(found.rules, end_of(found.rules))
    return SourceTokenizer(path, found, library, begin, end)


def _sentencepiece(path: Path, said: Companions) -> SourceTokenizer:
    begins = bool(said.tokenizer.get("add_bos_token", True))
    ends = bool(said.tokenizer.get("add_eos_token", False))
    library = SentencePieceLibrary(path, begins=begins, ends=ends)
    bos, unk, eos = library.ids()
    library.begins, library.ends = begins and bos != NONE, ends and eos != NONE
    try:
        found = rules_of_sentencepiece(read_given(path, _MOST_BYTES), bos, unk, eos)
    except (ValueError, TypeError, OSError) as error:
        raise CannotJudgeError(f"{path}: expected a SentencePiece model, found: {error}") from error
    named = said.ids("eos_token_id")
    own = [eos] if eos != NONE else []
    rules = replace(
        found.rules,
        add_bos=library.begins,
        add_eos=library.ends,
        ends=tuple(sorted({*(named or own)})),
        template=said.template,
    )
    also = frozenset() if library.ends else frozenset((NONE,))
    return _with_texts(path, replace(found, rules=rules, eos=also, ends=frozenset((*named, *own))), library, said)


def _with_ids(library: FastLibrary, found: SourceRules, said: Companions) -> SourceRules:
    """Add what the library and the files beside the tokenizer say about bos, unk, eos and the end of a text."""
    before, after = _around(library)
    begin, end, unknown = (_id_of(library, said.token(f"{name}_token")) for name in ("bos", "eos", "unk"))
    begins = _candidates(begin, said.ids("bos_token_id"))
    ends = _candidates(end, said.ids("eos_token_id"))
    required = said.ids("eos_token_id") or ([] if end is None else [end])
    unk = found.rules.unk
    rules = replace(
        found.rules,
        add_bos=bool(before),
        add_eos=bool(after),
        bos=before[0] if before else begins[0],
        eos=after[0] if after else ends[0],
        ends=tuple(sorted({*required})),
    )
    return replace(
        found,
        rules=rules,
        bos=frozenset() if before else frozenset(begins),
        eos=frozenset() if after else frozenset((*ends, NONE)),
        unk=frozenset() if unk != NONE or unknown is None else frozenset((unknown,)),
        ends=frozenset(ends) - {NONE},
    )


def _around(library: FastLibrary) -> tuple[list[int], list[int]]:
    """Return the ids before and after a text. Raises NotHeldError for more than one of each."""
    [alone], [whole] = (library.encode([_PLAIN_TEXT], special=special) for special in (False, True))
    for start in range(len(whole) - len(alone) + 1):
        before, after = whole[:start], whole[start + len(alone) :]
        if whole[start : start + len(alone)] == alone and len(before) <= 1 and len(after) <= 1:
            return before, after
    raise NotHeldError("more than one special token before or after a text")


def _id_of(library: FastLibrary, text: str | None) -> int | None:
    return None if text is None else library.id_of(text)


def _candidates(by_text: int | None, by_id: Iterable[int]) -> list[int]:
    """Return the ids that the files name, the tokenizer's own first; none among them if it names none."""
    return [NONE, *by_id] if by_text is None else [by_text, *by_id]
