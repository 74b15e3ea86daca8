"""The first files that a fuzzer starts from: tiny models, a few for each format, and small tokenizers.

python make_corpus.py DIRECTORY
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from helpers import tokenizer_blocks as blocks
from helpers.arch_draws import EXPERTS, MODELS
from helpers.arch_files import random_weights, write
from helpers.models import checkpoint, config
from helpers.qwen3c import qwen3c_config, qwen3c_file
from helpers.tokenizer_bins import byte_entries, save
from helpers.tokenizer_blocks import Block
from helpers.v3_files import SCALINGS

import exporter

TINY = {"dim": 8, "hidden_dim": 6, "n_heads": 2, "n_kv_heads": 1, "vocab_size": 5, "max_seq_len": 7, "n_layers": 1}
SHAPES = {
    "plain": TINY,
    "tied": {**TINY, "tied": True},
    "layers": {**TINY, "n_layers": 3, "dim": 4},
    "wide": {**TINY, "dim": 32, "hidden_dim": 16, "n_heads": 1},
}


def main() -> None:
    for format_name, folder in (("v0", "v0"), ("v1", "v1"), ("v1-fp32", "v1"), ("v2", "v2"), ("v3", "v3")):
        place = Path(sys.argv[1]) / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, shape in SHAPES.items():
            extra = {"head_dim": 6, "qkv_bias": True, "mlp_bias": True} if format_name == "v3" else {}
            model = config(**{**shape, **extra})
            for group_size in (2, 4):
                out = place / f"{format_name}-{name}-{group_size}"
                storage = {"*": "q8_0", "*w2*": "fp16", "*wq*": "bf16"} if format_name == "v3" else "source"
                how = {"group_size": group_size, "storage": storage, "overwrite": True, "provenance": False}
                exporter.export(checkpoint(model), out, format=format_name, **how)
        if format_name == "v3":
            for scaling, value in SCALINGS.items():
                # heads of as many pairs as longrope has factors
                model = config(**{**TINY, "head_dim": 10, "rope_scaling": value})
                exporter.export(checkpoint(model), place / f"v3-{scaling}", format="v3", overwrite=True)
            for number, switched in enumerate(MODELS.values()):
                # the first of the layers, whose kind is the one that the switch is about; without biases, to be short
                small = replace(
                    switched,
                    **TINY,
                    layers=switched.layers[:1],
                    qkv_bias=False,
                    wo_bias=False,
                    mlp_bias=False,
                    expert_hidden_dim=TINY["hidden_dim"] if switched.n_experts else 0,
                    plain=(),
                )
                write(place / f"v3-switches-{number}", small, random_weights(small))
            beside = replace(EXPERTS, **{**TINY, "n_layers": 2}, expert_hidden_dim=4, plain=(0,))
            write(place / "v3-experts-beside", beside, random_weights(beside))
    make_ajc1(Path(sys.argv[1]) / "ajc1")
    make_tokenizers(Path(sys.argv[1]) / "tokenizer")
    make_blocks(Path(sys.argv[1]) / "block")


def make_ajc1(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, shape in SHAPES.items():
        for group_size in (2, 4):
            model = qwen3c_config(**shape, head_dim=shape["dim"] // shape["n_heads"])
            qwen3c_file(place / f"{name}-{group_size}", model, None, group_size)


def make_tokenizers(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    letters = [
        (b" ", 0.0),
        (b"a", 0.0),
        (b"b", 0.0),
        (b"ab", 1.0),
        (b" a", 2.0),
        (b"abab", 3.0),
        ("\u00e9".encode(), 0.0),
    ]
    for name, entries in (("few", byte_entries()[:3] + letters), ("bytes", byte_entries()[:40] + letters)):
        # longer pieces may follow by mutation
        save(place / name, entries, longest=40)


def make_blocks(place: Path) -> None:
    """Blocks of each kind, with a text behind each."""
    place.mkdir(parents=True, exist_ok=True)
    letters, spaced = (
        [b"a", b"b", b" ", b"ab", b"<s>", b"."],
        [b"a", b"b", "\u2581".encode(), b"ab", b"<s>", b"<0x41>"],
    )
    merged, special = {"merges": [(0, 1)]}, {"added": [(4, blocks.SPECIAL)], "bos": 4, "eos_ids": [4]}
    every = {
        "plain": Block(pieces=letters, **merged),
        "gpt2": Block(pieces=letters, pretokenizer=blocks.GPT2, **merged, **special),
        "llama3": Block(pieces=letters, pretokenizer=blocks.LLAMA3, flags=blocks.WHOLE, **merged, **special),
        "qwen2": Block(pieces=letters, pretokenizer=blocks.QWEN2, flags=blocks.NFC, **merged, **special),
        "digits": Block(pieces=letters, pretokenizer=blocks.GPT2, flags=blocks.DIGITS | blocks.PREFIX, **merged),
        "characters": Block(kind=2, pieces=spaced, flags=blocks.PREFIX | blocks.BYTE_PIECES, **merged, **special),
        "scores": Block(kind=2, pieces=spaced, flags=blocks.PREFIX, scores=[0.0] * 6, unk=0, **special),
        "spaces": Block(kind=2, pieces=spaced, flags=blocks.PREFIX | blocks.SINGLE_SPACES, **merged, **special),
    }
    for name, block in every.items():
        (place / name).write_bytes(block.content() + b"ab a.b <s> ab1")


if __name__ == "__main__":
    main()
