"""Trains small tokenizers of every family that a source may have, with the files beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from helpers import tokenizer_bins
from helpers.tokenizers import LLAMA3, save_byte_pairs, save_ranks, trained
from verify.demo import HELD_OUT_TEXT

QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FAMILIES = ("gpt2", "smol", "qwen2", "llama3", "llama2", "sentencepiece", "ranks", "byte-pairs")


def source(family: str, directory: Path) -> Path:
    """Write one family's tokenizer into the directory; return the path that opens it."""
    directory.mkdir(parents=True, exist_ok=True)
    return _MAKERS[family](directory)


def _by_bytes(pieces: str | None, directory: Path) -> Tokenizer:
    tokenizer = trained(pieces)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _SPECIAL])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("caf\u00e9", normalized=True)])
    _beside(directory, bos_token=None, eos_token="<|im_end|>", ends=[tokenizer.token_to_id("<|im_end|>")])
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    return tokenizer


def _beside(directory: Path, *, ends: list[int], **config: Any) -> None:
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))


def _saved(tokenizer: Tokenizer, directory: Path) -> Path:
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory / "tokenizer.json"


def _gpt2(directory: Path) -> Path:
    return _saved(_by_bytes(None, directory), directory)


def _smol(directory: Path) -> Path:
    tokenizer = _by_bytes(None, directory)
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return _saved(tokenizer, directory)


def _qwen2(directory: Path) -> Path:
    tokenizer = _by_bytes(QWEN2, directory)
    tokenizer.normalizer = normalizers.NFC()
    return _saved(tokenizer, directory)


def _llama3(directory: Path) -> Path:
    tokenizer = _by_bytes(LLAMA3, directory)
    begin = "<|endoftext|>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    path = _saved(tokenizer, directory)
    said = json.loads(path.read_text())
    said["model"]["ignore_merges"] = True
    path.write_text(json.dumps(said))
    _beside(directory, bos_token=begin, eos_token="<|im_end|>", ends=[tokenizer.token_to_id("<|im_end|>")])
    return path


def _llama2(directory: Path) -> Path:
    """BPE over characters with byte fallback and a space before the text, as the conversion of Llama 2 has it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=special, show_progress=False, max_token_length=12)
    words = [f" {word}" for word in HELD_OUT_TEXT.read_text().split()]
    tokenizer.train_from_iterator(words, trainer)
    path = _saved(tokenizer, directory)
    said = json.loads(path.read_text())
    # byte pieces are no added tokens
    said["added_tokens"] = said["added_tokens"][:3]
    said["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    path.write_text(json.dumps(said))
    _beside(directory, bos_token="<s>", eos_token="</s>", unk_token="<unk>", ends=[2])
    return path


def _sentencepiece(directory: Path) -> Path:
    processor = tokenizer_bins.trained(512)
    (directory / "tokenizer.model").write_bytes(processor.serialized_model_proto())
    return directory / "tokenizer.model"


def processor_of(path: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def _ranks(directory: Path) -> Path:
    return save_ranks(trained(LLAMA3), directory / "tokenizer.model")


def _byte_pairs(directory: Path) -> Path:
    config = {"tokenizer_class": "GPT2Tokenizer", "bos_token": None, "eos_token": "<|endoftext|>"}
    return save_byte_pairs(trained(None), directory, config)


_MAKERS = {
    "gpt2": _gpt2,
    "smol": _smol,
    "qwen2": _qwen2,
    "llama3": _llama3,
    "llama2": _llama2,
    "sentencepiece": _sentencepiece,
    "ranks": _ranks,
    "byte-pairs": _byte_pairs,
}
