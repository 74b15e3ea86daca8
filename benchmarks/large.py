"""Export, verify and release of a model that is larger than the memory it gets.

    make bench-large LARGE=DIR      Llama-2-7B's shape, 4 GiB; room for 30 GB; hours at standard depth
    python benchmarks/large.py DIR --shape 1b --memory 2GiB --depth quick

The model is random: bfloat16, in shards of some 2 GB, as Hugging Face has them; it is made once in DIR. Each command
is a process of its own. Peak: the most memory that could not be given back to a file; read: what came from disk.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

SHAPES = {
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
    },
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
    },
}
SHARD_BYTES = 2 * 10**9
_STEP = 0.02


def make(directory: Path, shape: str) -> Path:
    """A Hugging Face directory of random weights, unless it is there."""
    if (directory / "model.safetensors.index.json").exists():
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        **SHAPES[shape],
    }
    dim, hidden = config["hidden_size"], config["intermediate_size"]
    kv = dim // config["num_attention_heads"] * config["num_key_value_heads"]
    layer = {
        "input_layernorm": (dim,),
        "self_attn.q_proj": (dim, dim),
        "self_attn.k_proj": (kv, dim),
        "self_attn.v_proj": (kv, dim),
        "self_attn.o_proj": (dim, dim),
        "post_attention_layernorm": (dim,),
        "mlp.gate_proj": (hidden, dim),
        "mlp.up_proj": (hidden, dim),
        "mlp.down_proj": (dim, hidden),
    }
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], dim)}
    for number in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{number}.{name}.weight": of for name, of in layer.items()}
    shapes |= {"model.norm.weight": (dim,), "lm_head.weight": (config["vocab_size"], dim)}
    torch.manual_seed(0)
    weight_map: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}

    def write() -> None:
        name = f"model-{len(set(weight_map.values())) + 1:05}.safetensors"
        save_file(shard, directory / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, of in shapes.items():
        made = torch.empty(of, dtype=torch.bfloat16)
        shard[name] = made.fill_(1) if len(of) == 1 else made.normal_(std=of[1] ** -0.5)
        if sum(2 * tensor.numel() for tensor in shard.values()) > SHARD_BYTES:
            write()
    write()
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    return directory


@dataclass(frozen=True)
class Cost:
    """seconds; peak: bytes of anonymous memory; read: bytes from disk, which the system's cache may have spared."""

    status: int
    seconds: float
    peak: int
    read: int


def measure(*arguments: object) -> Cost:
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "verify", *map(str, arguments)])
    peak = read = 0
    while process.poll() is None:
        peak = max(peak, 1024 * _field(process.pid, "status", "RssAnon:"))
        read = max(read, _field(process.pid, "io", "read_bytes:"))
        time.sleep(_STEP)
    return Cost(process.returncode, time.monotonic() - began, peak, read)


def _field(pid: int, file: str, name: str) -> int:
    """Of a process that may be gone."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--memory", default="4GiB")
    parser.add_argument("--depth", default="standard")
    parser.add_argument("--windows", default=None)
    parser.add_argument("--length", default=None)
    parser.add_argument("--only", action="append", choices=("export", "verify", "release"))
    given = parser.parse_args()
    source = make(given.directory / f"source-{given.shape}", given.shape)
    out, released = given.directory / f"{given.shape}.bin", given.directory / f"{given.shape}-released.bin"
    evidence = ["--depth", given.depth]
    for option, value in (("--windows", given.windows), ("--length", given.length)):
        evidence += [option, value] if value else []
    q8 = ("--format", "v3", "--storage", "q8_0", "--overwrite")
    commands = {
        "export": ("export", source, out, *q8),
        "verify": ("verify", source, out, "--memory", given.memory, *evidence),
        "release": ("release", source, released, *q8, "--memory", given.memory, *evidence),
    }
    found = {}
    for name, command in commands.items():
        if given.only is None or name in given.only:
            found[name] = cost = measure(*command)
            print(
                f"{name}: status {cost.status}, {cost.seconds:.0f} s, peak {cost.peak / 2**30:.2f} GiB, "
                f"{cost.read / 1e9:.1f} GB read",
                flush=True,
            )
    sys.exit(any(cost.status for cost in found.values()))


if __name__ == "__main__":
    main()
