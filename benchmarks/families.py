"""Models of today's families beside transformers and llama.cpp: prefill of 512 tokens, decoding of 64.

    make bench-families [XLLAMACPP=PYTHON]

A random model with the shape of Qwen3-0.6B, in float32 and Q8_0, and one of each other family with about a hundred
million weights, in float32. Engines take turns, each measurement in a process of its own. llama.cpp is run by the
interpreter that XLLAMACPP names, which has numpy and xllamacpp; it gets the first model alone. The best of several
turns counts, because the machine may have other work. Writes results/families.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from measure import machine, save
from rich.progress import track
from safetensors import safe_open

import exporter
from verify.system.optional_imports import quiet_transformers

HERE = Path(__file__).parent
TURNS = 3
TASKS = ("prefill 512", "decode 64")
PLAIN = ("ours / fp32", "transformers / fp32")
FIRST = (*PLAIN, "ours / q8", "llama.cpp server / fp32", "llama.cpp server / q8")
QWEN3 = "Qwen3-0.6B's shape"
_QWEN3_SHAPE: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 2112,
    "tie_word_embeddings": True,
    "rope_theta": 1e6,
}
# 12 layers of 6.5 million weights, and the embedding
_SHAPE: dict[str, Any] = {
    "hidden_size": 640,
    "intermediate_size": 2560,
    "num_hidden_layers": 12,
    "num_attention_heads": 10,
    "num_key_value_heads": 5,
    "vocab_size": 50048,
    "max_position_embeddings": 2112,
    "tie_word_embeddings": True,
    "pad_token_id": None,
}
_WINDOWED = {"sliding_window": 256}
_EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": True}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": _WINDOWED,
    "qwen2": {},
    "qwen3": {"head_dim": 64},
    "smollm3": {},
    "gemma2": {"head_dim": 64, **_WINDOWED},
    "gemma3_text": {"head_dim": 64, **_WINDOWED},
    "granite": {},
    "olmo2": {},
    "olmo3": _WINDOWED,
    "phi3": {},
    "ministral3": {"head_dim": 64},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 640},
    "qwen3_moe": {"head_dim": 64, "moe_intermediate_size": 640, **_EXPERTS},
    "olmoe": {"intermediate_size": 640, **_EXPERTS},
}


def prepare(family: str, keywords: dict[str, Any], directory: Path, *, quantized: bool) -> None:
    """A random model as transformers saves it, and as we export it."""
    torch.manual_seed(0)
    with quiet_transformers() as transformers:
        config = transformers.CONFIG_MAPPING[family](**keywords)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory / "hf")
    checkpoint = exporter.open_checkpoint(directory / "hf")
    exporter.export(checkpoint, directory / "fp32.bin", format="v3")
    if quantized:
        exporter.export(checkpoint, directory / "q8.bin", format="v3", storage="q8_0")


# ---- llama.cpp's files ----

_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def llama_cpp_name(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    number, _, module = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
    return f"blk.{number}.{_NAMES[module]}.weight"


def write_gguf(directory: Path, kind: str) -> None:
    """Qwen3 as llama.cpp reads it, with a vocabulary of made-up words."""
    shape = _QWEN3_SHAPE
    writer = gguf.GGUFWriter(directory / f"{kind}.gguf", "qwen3")
    writer.add_context_length(shape["max_position_embeddings"])
    writer.add_embedding_length(shape["hidden_size"])
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(shape["num_attention_heads"])
    writer.add_head_count_kv(shape["num_key_value_heads"])
    writer.add_key_length(shape["head_dim"])
    writer.add_value_length(shape["head_dim"])
    writer.add_rope_freq_base(shape["rope_theta"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"w{number}" for number in range(shape["vocab_size"])])
    writer.add_token_types([1] * shape["vocab_size"])
    writer.add_token_merges(["w 1"])
    quantized = gguf.GGMLQuantizationType.Q8_0
    with safe_open(directory / "hf" / "model.safetensors", framework="np") as file:
        for name in file.keys():  # noqa: SIM118  # it is no mapping
            tensor = file.get_tensor(name)
            if kind == "q8" and tensor.ndim == 2:
                writer.add_tensor(llama_cpp_name(name), gguf.quants.quantize(tensor, quantized), raw_dtype=quantized)
            else:
                writer.add_tensor(llama_cpp_name(name), np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ---- measurements ----


def measure(engine: str, task: str, directory: Path, threads: int, python: str) -> float:
    """Tokens a second."""
    command = [python, HERE / "engines.py", engine, task, directory, str(threads)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(result.stdout.splitlines()[-1])
    return float(found["tokens"] / found["seconds"])


def best(engines: tuple[str, ...], directory: Path, given: argparse.Namespace, name: str) -> dict[str, float]:
    """The best of all turns, by engine and task."""
    work = [(engine, task) for task in TASKS for engine in engines]
    found: dict[str, float] = {}
    for engine, task in track(work * given.turns, description=name):
        python = given.xllamacpp if engine.startswith("llama.cpp") else sys.executable
        speed = measure(engine, task, directory, given.threads, python)
        key = f"{engine}, {task}"
        found[key] = max(found.get(key, 0.0), speed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--xllamacpp", default=os.environ.get("XLLAMACPP") or None)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--only", choices=[QWEN3, *FAMILIES])
    given = parser.parse_args()
    speeds: dict[str, dict[str, float]] = {}
    for name, keywords in {QWEN3: _QWEN3_SHAPE, **FAMILIES}.items():
        if given.only not in (None, name):
            continue
        first = name == QWEN3
        engines = tuple(e for e in (FIRST if first else PLAIN) if given.xllamacpp or not e.startswith("llama.cpp"))
        with tempfile.TemporaryDirectory() as room:
            directory = Path(room)
            shape = keywords if first else {**_SHAPE, **keywords}
            prepare("qwen3" if first else name, shape, directory, quantized=first)
            if first and given.xllamacpp:
                write_gguf(directory, "fp32")
                write_gguf(directory, "q8")
            speeds[name] = best(engines, directory, given, name)
        for key, speed in speeds[name].items():
            print(f"{name:20s} {key:40s} {speed:10.1f} tok/s", flush=True)
    if given.only is None:
        save(
            "families",
            {"machine": machine(), "threads": given.threads, "turns": given.turns, "tokens a second": speeds},
        )


if __name__ == "__main__":
    main()
