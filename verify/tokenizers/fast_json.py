"""Derive the rules of a tokenizer.json from its JSON, by this module's own reading.

Source: tokenizers 0.22, whose Rust types name these keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verify.tokenizers.pre_tokenizers import bytes_of_letters, pre_tokenizer_of
from verify.tokenizers.rules import (
    NONE,
    NORMALIZED,
    SPACE,
    SPECIAL,
    STRIPS_LEFT,
    STRIPS_RIGHT,
    WHOLE_WORD,
    NotHeldError,
    Rules,
)

_FLAGS = {
    "special": SPECIAL,
    "lstrip": STRIPS_LEFT,
    "rstrip": STRIPS_RIGHT,
    "single_word": WHOLE_WORD,
    "normalized": NORMALIZED,
}
# Keys of a BPE model that change how it merges; the formats have none of them.
_OFF = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
_MOST_TOKENS = 1 << 24

Json = Mapping[str, Any]


def rules_of_json(said: Json) -> Rules:
    """Return the rules, except those about bos, eos and the chat template, which other files state.

    Raises NotHeldError for what the formats cannot hold, and KeyError, TypeError or ValueError for another structure.
    """
    model = said["model"]
    _expect_bpe(model)
    steps = _flat(said.get("pre_tokenizer"), "pretokenizers")
    normalizer = _flat(said.get("normalizer"), "normalizers")
    by_bytes = any(step["type"] == "ByteLevel" for step in steps)
    added = {int(token["id"]): token for token in said.get("added_tokens") or ()}
    rules = Rules(
        kind="bytes" if by_bytes else "characters",
        pieces=_pieces(model["vocab"], added, by_bytes=by_bytes),
        merges=_merges(model),
        added={token: _flags(entry) for token, entry in sorted(added.items())},
        ignore_merges=bool(model.get("ignore_merges")),
        unk=_unk(model),
        **(_by_bytes(normalizer, steps) if by_bytes else _by_characters(normalizer, steps)),
        byte_fallback=bool(model.get("byte_fallback")) and not by_bytes,
    )
    if not by_bytes and not rules.merges:
        raise NotHeldError("characters without merges or scores")
    return rules


def _expect_bpe(model: Json) -> None:
    kind = model.get("type", "BPE")
    if kind != "BPE":
        raise NotHeldError(f"a model of the type {kind!r:.40}")
    for key in _OFF:
        if model.get(key):
            raise NotHeldError(f"{key} {model[key]!r:.40}")


def _flat(step: Json | None, key: str) -> list[Json]:
    """Return the steps of a sequence, nested or not."""
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [inner for one in step[key] for inner in _flat(one, key)]
    return [step]


def _pieces(vocab: Mapping[str, int], added: Mapping[int, Json], *, by_bytes: bool) -> tuple[bytes, ...]:
    count = 1 + max([*vocab.values(), *added])
    if count > _MOST_TOKENS:
        raise NotHeldError(f"an id of {count - 1}")
    pieces = [b""] * count
    for text, token in vocab.items():
        if token not in added:
            pieces[token] = bytes_of_letters(text) if by_bytes else text.encode()
    for token, entry in added.items():
        pieces[token] = str(entry["content"]).encode()
    return tuple(pieces)


def _flags(entry: Json) -> int:
    return sum(flag for name, flag in _FLAGS.items() if entry.get(name))


def _merges(model: Json) -> tuple[tuple[int, int], ...]:
    vocab, merges = model["vocab"], []
    for merge in model.get("merges") or ():
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        # the library refuses a part or a whole that is no piece
        vocab[left + right]
        merges.append((vocab[left], vocab[right]))
    return tuple(merges)


def _unk(model: Json) -> int:
    unk = model.get("unk_token")
    return NONE if unk is None else int(model["vocab"][unk])


def _by_bytes(normalizer: Sequence[Json], steps: Sequence[Json]) -> dict[str, Any]:
    """Return the fields of Rules about what comes before byte-level BPE."""
    kinds = [step["type"] for step in normalizer]
    if kinds not in ([], ["NFC"]):
        raise NotHeldError(f"a normalizer {' and '.join(kinds)}")
    return {"nfc": bool(kinds), **pre_tokenizer_of(steps)}


def _by_characters(normalizer: Sequence[Json], steps: Sequence[Json]) -> dict[str, Any]:
    """Return the fields of Rules about what comes before BPE over characters: spaces become U+2581, and one more
    stands before the text or does not."""
    left, nfc, prefix = list(normalizer), False, False
    if left and left[0]["type"] == "NFC":
        nfc, left = True, left[1:]
    if left and left[0]["type"] == "Prepend" and left[0]["prepend"] == SPACE:
        prefix, left = True, left[1:]
    if len(left) == 1 and _replaces_spaces(left[0]):
        spaces = True
    elif left:
        raise NotHeldError(f"a normalizer {left[0]['type']}")
    else:
        spaces = False
    if len(steps) == 1 and steps[0]["type"] == "Metaspace" and not spaces and not prefix:
        prefix, spaces = _metaspace(steps[0]), True
    elif any(not _cuts_nothing(step, spaces=spaces) for step in steps):
        raise NotHeldError(f"a pre-tokenizer {steps[0]['type']}")
    if not spaces:
        raise NotHeldError("pieces in which a space does not become U+2581")
    return {"nfc": nfc, "prefix": prefix}


def _replaces_spaces(step: Json) -> bool:
    return bool(step["type"] == "Replace" and step["pattern"] == {"String": " "} and step["content"] == SPACE)


def _cuts_nothing(step: Json, *, spaces: bool) -> bool:
    """Return whether a step cuts only where a space stands, of which none is left."""
    return spaces and bool(step["type"] == "Split" and step["pattern"] == {"String": " "})


def _metaspace(step: Json) -> bool:
    """Return whether a space is put before the text."""
    if step.get("replacement", SPACE) != SPACE or step.get("split", True):
        raise NotHeldError("a pre-tokenizer Metaspace that splits at spaces")
    scheme = step.get("prepend_scheme", "always")
    return bool(scheme != "never")
