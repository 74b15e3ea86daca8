"""Writes tokenizers in the formats that sources have, to be read and written again."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers

from helpers import checkpoints
from helpers.models import arrays, config
from verify.demo import HELD_OUT_TEXT

# of the tokenizers that are trained here
TOKENS = 400
SPECIAL = ["<unk>", "<s>", "</s>"]
# What formats treat differently: other scripts, marks, runs of spaces, controls, what looks like special tokens.
CHARACTERS = "abcdeinorst ,.'AB19  \n\t\u00e9\u0301\u65e5\u672c\U0001f680\u0663\u00a0<>s/_"
WORDS = ["the ", "In the beginning", "  ", "1234", "don't", "\n\n", "<s>", "</s>", "<0x0A>", "LORD", " \u00e9t\u00e9"]


def drawn_text(draw: random.Random, longest: int = 30) -> str:
    """Return a text of characters, words and pieces of the demo's text."""
    text = HELD_OUT_TEXT.read_text()
    parts = []
    for _ in range(draw.randrange(longest)):
        kind = draw.randrange(3)
        at = draw.randrange(len(text) - 20)
        parts.append((draw.choice(CHARACTERS), draw.choice(WORDS), text[at : at + draw.randrange(20)])[kind])
    return "".join(parts)


def sentencepiece_model(vocab_size: int = TOKENS, **options: Any) -> bytes:
    """Train SentencePiece as Llama 2's was trained: byte pairs, byte fallback, spaces as they are."""
    model = io.BytesIO()
    settings = {
        "model_type": "bpe",
        "character_coverage": 1.0,
        "split_digits": True,
        "allow_whitespace_only_pieces": True,
        "byte_fallback": True,
        "remove_extra_whitespaces": False,
        "normalization_rule_name": "identity",
        "minloglevel": 2,
        **options,
    }
    lines = HELD_OUT_TEXT.read_text().splitlines()[:400]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=vocab_size, **settings
    )
    return model.getvalue()


def save_sentencepiece(path: Path, **options: Any) -> Path:
    path.write_bytes(sentencepiece_model(**options))
    return path


def llama2_json(size: int = 700) -> dict[str, Any]:
    """Train the tokenizer.json of a model as Llama 2: byte pairs over characters, with merges by rank."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(HELD_OUT_TEXT.read_text().splitlines()[:400], trainer)
    file: dict[str, Any] = json.loads(tokenizer.to_str())
    file["added_tokens"] = file["added_tokens"][:3]
    file["post_processor"] = template(["<s>"], {"<s>": 1})
    return file


def template(before: list[str], ids: dict[str, int], after: list[str] | None = None) -> dict[str, Any]:
    """Return a post_processor that puts special tokens around a text."""

    def token(name: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": 0}}

    single = [*map(token, before), {"Sequence": {"id": "A", "type_id": 0}}, *map(token, after or [])]
    special = {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in ids.items()}
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special}


def byte_level_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the tokenizer.json of a trained one, with three special tokens added."""
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in ("<|begin|>", "<|end|>", "<|turn|>")])
    file: dict[str, Any] = json.loads(tokenizer.to_str())
    return file


def save_json(path: Path, file: dict[str, Any], config: dict[str, Any] | None = None) -> Path:
    path.write_text(json.dumps(file))
    if config is not None:
        path.with_name("tokenizer_config.json").write_text(json.dumps(config))
    return path


def save_model_of(directory: Path, vocab_size: int = TOKENS) -> Path:
    """Save a toy model of so many tokens as llama2.c's .pt."""
    directory.mkdir(exist_ok=True)
    made = arrays(config(vocab_size=vocab_size, tied=True), 0)
    state = {name: torch.from_numpy(array) for name, array in made.items()}
    state["output.weight"] = state["tok_embeddings.weight"]
    return checkpoints.save(directory, state, {**checkpoints.ARGS, "vocab_size": vocab_size})
