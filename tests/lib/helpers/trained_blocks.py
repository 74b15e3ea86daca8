"""Tokenizers of every kind that a block can hold, trained by the libraries that judge the reader."""

from __future__ import annotations

import functools
import io
import json
import random
from collections.abc import Sequence

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from helpers import tokenizer_blocks as blocks
from helpers.drawn_words import HARD, MARKS, SPACES
from verify.demo import HELD_OUT_TEXT

# what the held-out text, which is plain English, does not have
MORE_TEXT = (
    "caf\u00e9 na\u00efve \u00fcber \u65e5\u672c\u8a9e \u65e5\u672c \u0440\u0443\u0441\u0441\u043a\u0438\u0439 "
    "\u0939\u093f\u0928\u094d\u0926\u0940 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab 12345 2024 007 \u0663\u0664\u0665 "
    "don't DON'T we'll WE'LL I've he'd it's 'tis\n\n\n  indented\n\tTab\r\n\r\n   \n x  =  y;;  // -- !?\n"
) * 40

ADDED = (
    AddedToken("<|start|>", special=True, normalized=False),
    AddedToken("<|end|>", special=True, normalized=False),
    AddedToken("<|end|>of", special=True, normalized=False),
    AddedToken("<mask>", special=True, normalized=False, lstrip=True),
    AddedToken("<gap>", special=False, normalized=False, rstrip=True),
    AddedToken("<both>", special=False, normalized=False, lstrip=True, rstrip=True),
    AddedToken("word", special=False, normalized=False, single_word=True),
    AddedToken("\u00e9t\u00e9", special=False, normalized=True),
    AddedToken("e\u0301\u0327x", special=False, normalized=True),
    AddedToken("Lord of", special=False, normalized=True, single_word=True, lstrip=True),
    AddedToken("  ", special=False, normalized=False, single_word=True),
)


@functools.cache
def lines() -> tuple[str, ...]:
    """Return short texts to train on: prose, and what is hard, mixed."""
    prose = HELD_OUT_TEXT.read_text(encoding="utf-8") + MORE_TEXT
    rng = random.Random(11)
    found = [prose[at : at + 24] for at in range(0, 24_000, 24)]
    for _ in range(1500):
        at = rng.randrange(len(prose) - 6)
        found.append(prose[at : at + 6] + "".join(rng.choices(HARD + SPACES, k=4)) + prose[at : at + 3])
        found.append("".join(rng.choices(HARD, k=8)))
        found.append("".join(rng.choices(SPACES[:4] + "aT1'.", k=6)))
        found.append("".join(rng.choices(MARKS, k=4)))
    return tuple(found)


@functools.cache
def _byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train merges on texts that are not split: they cross the borders of pre-tokens everywhere.

    So the tokens differ where the reader splits a text otherwise than the library.
    """
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = sorted(blocks.byte_of_letter())
    trainer = trainers.BpeTrainer(vocab_size=2500, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(lines(), trainer)
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def byte_level(
    pattern: str | None,
    *,
    nfc: bool = False,
    digits: bool = False,
    prefix: bool = False,
    ignore_merges: bool = False,
    added: Sequence[AddedToken] = ADDED,
) -> tokenizers.Tokenizer:
    """Return byte-level BPE. pattern: of Split; None for ByteLevel's own, which is GPT-2's."""
    vocabulary, merges = _byte_pairs()
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=ignore_merges))
    parts: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if pattern is not None:
        parts.append(pre_tokenizers.Split(Regex(pattern), "isolated"))
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=pattern is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts) if len(parts) > 1 else parts[0]
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(list(added))
    return tokenizer


def characters(*, byte_fallback: bool, ignore_merges: bool = False, size: int = 1000) -> tokenizers.Tokenizer:
    """Train BPE over characters as Llama 2's tokenizer.json has it: spaces are U+2581, and one begins the text."""
    trained = tokenizers.Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    trained.train_from_iterator(lines(), trainers.BpeTrainer(vocab_size=size, show_progress=False))
    stored = json.loads(trained.to_str())["model"]
    special = ["<unk>", "<s>", "</s>", *([f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else [])]
    vocabulary = {piece: token for token, piece in enumerate(special)}
    for piece in sorted(stored["vocab"], key=stored["vocab"].get):
        vocabulary[piece] = len(vocabulary)
    tokenizer = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=[tuple(pair) for pair in stored["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=byte_fallback,
            ignore_merges=ignore_merges,
        )
    )
    tokenizer.normalizer = trained.normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_tokens([AddedToken(piece, special=True, normalized=False) for piece in special[:3]])
    return tokenizer


@functools.cache
def sentencepiece_model(
    vocab_size: int = 600, *, single_spaces: bool = False, prefix: bool = True
) -> sentencepiece.SentencePieceProcessor:
    """Train SentencePiece's BPE as Llama's was.

    single_spaces: with its default, remove_extra_whitespaces. prefix: add_dummy_prefix.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=single_spaces,
        add_dummy_prefix=prefix,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def scored(
    processor: sentencepiece.SentencePieceProcessor, *, single_spaces: bool = False, prefix: bool = True
) -> blocks.Block:
    """Return the block of a SentencePiece BPE model, whose scores decide what merges."""
    count = processor.vocab_size()
    added = [
        (token, blocks.SPECIAL)
        for token in range(count)
        if processor.is_control(token) or processor.is_unknown(token)
    ]
    return blocks.Block(
        kind=2,
        flags=blocks.PREFIX * prefix | blocks.BYTE_PIECES | blocks.SINGLE_SPACES * single_spaces,
        pieces=[processor.id_to_piece(token).encode() for token in range(count)],
        scores=[processor.get_score(token) for token in range(count)],
        added=added,
        bos=processor.bos_id(),
        eos=processor.eos_id(),
        unk=processor.unk_id(),
        eos_ids=[processor.eos_id()],
    )


@functools.cache
def families() -> dict[str, tokenizers.Tokenizer]:
    """Return a tokenizer for each family of published models, and for each part that a block can have."""
    return {
        "GPT-2": byte_level(None),
        "GPT-2, digits": byte_level(None, digits=True),
        "GPT-2, prefix": byte_level(None, prefix=True),
        "Llama 3": byte_level(blocks.LLAMA3_PATTERN, ignore_merges=True),
        "Llama 3, digits": byte_level(blocks.LLAMA3_PATTERN, digits=True),
        "Qwen 2": byte_level(blocks.QWEN2_PATTERN, nfc=True),
        "characters, byte pieces": characters(byte_fallback=True),
        "characters, unk": characters(byte_fallback=False, ignore_merges=True),
    }
