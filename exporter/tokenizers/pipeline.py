"""Recognise what a tokenizer.json does before and after byte pair encoding, or refuse it by its name and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from exporter.errors import CheckpointError
from exporter.strict_json import Json, shown
from exporter.tokenizers.model import SPACE, Kind, Pattern

_WORDS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
# The regular expressions that a file may state, and what they are called here.
PATTERNS: dict[str, Pattern] = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
    rf"{_LETTERS}|\p{{N}}{{1,3}}{_WORDS}": "llama3",
    rf"{_LETTERS}|\p{{N}}{_WORDS}": "qwen2",
}
_NO_PREFIX = {"type": "ByteLevel", "add_prefix_space": False}
_SPACE_TO_SIGN = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_SIGN_TO_SPACE: Json = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
_PREPEND = {"type": "Prepend", "prepend": SPACE}
_STRIP: Json = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
_BYTE_FALLBACK: Json = {"type": "ByteFallback"}
_FUSE: Json = {"type": "Fuse"}
# Gemma's: the normalizer has left no space to cut at
_CUT_AT_SPACES = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}


@dataclass(frozen=True)
class Pipeline:
    """How a text becomes words; the fields are those of TokenizerModel."""

    kind: Kind
    pattern: Pattern = "none"
    nfc: bool = False
    digits: bool = False
    space_first: bool = False


def read_pipeline(where: str, file: Json) -> Pipeline:
    """Read normalizer, pre_tokenizer and decoder. Raises CheckpointError: where: field: expected ..., found ..."""
    normalizer, cutter = _steps(file, "normalizer", "normalizers"), _steps(file, "pre_tokenizer", "pretokenizers")
    if any(step.get("type") == "ByteLevel" for step in cutter):
        pipeline = _byte_level(where, normalizer, cutter)
        decoders = _steps(file, "decoder", "decoders")
        if [step.get("type") for step in decoders] != ["ByteLevel"]:
            raise _unexpected(where, "decoder", "ByteLevel", decoders)
        return pipeline
    return _of_characters(where, normalizer, cutter, _steps(file, "decoder", "decoders"))


def read_template(where: str, file: Json) -> tuple[list[int], list[int]]:
    """Return the ids that post_processor puts before a text, and behind it. Raises CheckpointError."""
    ends: tuple[list[int], list[int]] = [], []
    templates = [step for step in _steps(file, "post_processor", "processors") if step.get("type") != "ByteLevel"]
    if not templates:
        return ends
    step, *others = templates
    parts = step.get("single")
    if step.get("type") != "TemplateProcessing" or others or not isinstance(parts, list):
        raise _unexpected(where, "post_processor", "none, ByteLevel or one TemplateProcessing", templates)
    texts = 0
    for part in parts:
        text, special = _part(part, "Sequence"), _part(part, "SpecialToken")
        if special is not None and texts < 2:
            ends[texts].extend(_ids_of(where, step, special))
        elif text == "A":
            texts += 1
        else:
            raise CheckpointError(f"{where}: post_processor: expected special tokens and a text, found {shown(part)}")
    if texts != 1:
        raise CheckpointError(f"{where}: post_processor: expected one text, found {texts}")
    return ends


def _part(part: object, kind: str) -> str | None:
    inner = part.get(kind) if isinstance(part, dict) else None
    name = inner.get("id") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else None


def _ids_of(where: str, step: Json, name: str) -> list[int]:
    """Return the ids that a template has for a special token."""
    known = step.get("special_tokens")
    entry = known.get(name) if isinstance(known, dict) else None
    ids = entry.get("ids") if isinstance(entry, dict) else None
    if not isinstance(ids, list) or not all(type(token) is int for token in ids):
        raise CheckpointError(
            f"{where}: post_processor: special_tokens: {shown(name)}: expected ids, found {shown(ids)}"
        )
    return ids


def _byte_level(where: str, normalizer: Sequence[Json], cutter: Sequence[Json]) -> Pipeline:
    if normalizer not in ([], [{"type": "NFC"}]):
        raise _unexpected(where, "normalizer", "none or NFC", normalizer)
    *first, last = cutter
    given = {**_NO_PREFIX, "use_regex": True, **last}
    # it only moves the places of tokens in the text, which nothing here uses
    given.pop("trim_offsets", None)
    found = Pipeline("bytes", nfc=bool(normalizer), pattern="gpt2" if given["use_regex"] is True else "none")
    with_regex, without = {**_NO_PREFIX, "use_regex": True}, {**_NO_PREFIX, "use_regex": False}
    if first == [{"type": "Digits", "individual_digits": True}] and given == with_regex:
        return replace(found, digits=True)
    if len(first) == 1 and given == without and (pattern := _pattern(first[0])):
        return replace(found, pattern=pattern)
    # a space before the text is one before each part that an earlier step has cut
    if not first and given in (with_regex, without, {**with_regex, "add_prefix_space": True}):
        return replace(found, space_first=given["add_prefix_space"])
    expected = (
        "ByteLevel alone, after Digits, or after the regular expression of Llama 3 or Qwen 2 with use_regex false"
    )
    raise _unexpected(where, "pre_tokenizer", expected, cutter)


def _pattern(step: Json) -> Pattern | None:
    """Return the name of the regular expression that a step cuts with, None for any other step."""
    pattern = step.get("pattern")
    if not isinstance(pattern, dict) or list(pattern) != ["Regex"] or not isinstance(pattern["Regex"], str):
        return None
    expected = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return PATTERNS.get(pattern["Regex"]) if step == expected else None


def _of_characters(
    where: str, normalizer: Sequence[Json], cutter: Sequence[Json], decoder: Sequence[Json]
) -> Pipeline:
    if cutter not in ([], [_CUT_AT_SPACES]):
        raise _unexpected(where, "pre_tokenizer", "none, or one with ByteLevel", cutter)
    if normalizer not in ([_SPACE_TO_SIGN], [_PREPEND, _SPACE_TO_SIGN]):
        raise _unexpected(where, "normalizer", "Replace of a space by U+2581, with Prepend or without", normalizer)
    space_first = len(normalizer) == 2
    expected = [_SIGN_TO_SPACE, _BYTE_FALLBACK, _FUSE, *([_STRIP] if space_first else [])]
    if decoder != expected:
        names = ", ".join(step["type"] for step in expected)
        raise _unexpected(where, "decoder", names, decoder)
    return Pipeline("characters", space_first=space_first)


def _steps(file: Json, field: str, inner: str) -> list[Json]:
    """Return the steps of a field, a Sequence of them unfolded."""
    value = file.get(field)
    if value is None:
        return []
    steps = value.get(inner) if isinstance(value, dict) and value.get("type") == "Sequence" else [value]
    if not isinstance(steps, list):
        return [{"type": shown(steps)}]
    return [step if isinstance(step, dict) else {"type": shown(step)} for step in steps]


def _unexpected(where: str, field: str, expected: str, steps: Sequence[Json]) -> CheckpointError:
    found = ", ".join(_described(step) for step in steps) or "none"
    return CheckpointError(f"{where}: {field}: expected {expected}, found {found}")


def _described(step: Json) -> str:
    """Return a step's type and its fields, for messages."""
    fields = []
    for name, value in step.items():
        inner = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value
        if name != "type":
            fields.append(f"{name} {shown(inner)}")
    kind = step.get("type")
    return f"{kind if isinstance(kind, str) else shown(kind):.40}" + (f" ({', '.join(fields)})" if fields else "")
