"""What can be wrong with a directory of Meta's: each defect is put into a healthy one of helpers.meta.MODEL."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Defect = Callable[[Path], object]
_WK = "layers.1.attention.wk.weight"


def shard(directory: Path, number: int) -> Path:
    return directory / f"consolidated.{number:02}.pth"


def _change(change: Callable[[dict[Any, Any]], object], *numbers: int) -> Defect:
    """In these shards; in both of two by default."""

    def defect(directory: Path) -> None:
        for number in numbers or (0, 1):
            state = torch.load(shard(directory, number), weights_only=True)
            change(state)
            torch.save(state, shard(directory, number))

    return defect


def _put(name: object, value: object, *numbers: int) -> Defect:
    return _change(lambda state: state.update({name: value}), *numbers)


def _recast(name: str, dtype: torch.dtype) -> Callable[[dict[Any, Any]], object]:
    return lambda state: state.update({name: state[name].to(dtype)})


def _say(**changes: object) -> Defect:
    """params.json with these changes; ... takes a key away."""

    def defect(directory: Path) -> None:
        path = directory / "params.json"
        said = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in said.items() if value is not ...}))

    return defect


def _write(text: str | bytes) -> Defect:
    content = text.encode() if isinstance(text, str) else text
    return lambda directory: (directory / "params.json").write_bytes(content)


def _nudge(state: dict[Any, Any]) -> None:
    norm = state["layers.0.ffn_norm.weight"]
    norm[3] = torch.nextafter(norm[3], torch.tensor(9.0))


def _saved(value: object) -> Defect:
    return lambda directory: torch.save(value, shard(directory, 1))


def _not_a_file(directory: Path) -> None:
    shard(directory, 1).unlink()
    shard(directory, 1).mkdir()


def _truncate(directory: Path) -> None:
    os.truncate(shard(directory, 1), shard(directory, 1).stat().st_size - 99)


def _with_duplicate(directory: Path) -> None:
    path = directory / "params.json"
    path.write_text(path.read_text()[:-1] + ', "dim": 48}')


class _Payload:
    """Unpickling this creates a directory."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


TENSOR_DEFECTS: dict[str, Defect] = {
    "tensor missing in one": _change(lambda state: state.pop(_WK), 1),
    "tensor missing in all": _change(lambda state: state.pop(_WK)),
    "embedding missing": _change(lambda state: state.pop("tok_embeddings.weight")),
    "no layers": _change(lambda state: [state.pop(name) for name in list(state) if name.startswith("layers.")]),
    "tensor too much in one": _put("layers.1.attention.wq.bias", torch.zeros(24), 1),
    "tensor too much in all": _put("layers.2.attention.wq.weight", torch.zeros(24, 48)),
    "another shape in one": _put(_WK, torch.zeros(13, 48), 1),
    "another shape in all": _put(_WK, torch.zeros(13, 48)),
    "half a head": _put("layers.0.attention.wk.weight", torch.zeros(13, 48)),
    "no row": _put(_WK, torch.zeros(0, 48)),
    "a vector for a matrix": _put("layers.0.feed_forward.w1.weight", torch.zeros(20)),
    "wo cut by rows": _put("layers.0.attention.wo.weight", torch.zeros(24, 48)),
    "w1 cut by columns": _put("layers.0.feed_forward.w1.weight", torch.zeros(40, 24)),
    "norm cut": _put("layers.0.ffn_norm.weight", torch.ones(24)),
    "embedding of another width": _put("tok_embeddings.weight", torch.zeros(32, 47)),
    "embedding cut otherwise in one": _put("tok_embeddings.weight", torch.zeros(16, 48), 1),
    "another type in one": _change(_recast(_WK, torch.bfloat16), 1),
    "norms that differ": _change(_nudge, 1),
    "norms that differ in a sign of zero": lambda directory: (
        _put("norm.weight", torch.zeros(48), 0)(directory),
        _put("norm.weight", -torch.zeros(48), 1)(directory),
    ),
    "integers": _put(_WK, torch.zeros(12, 48, dtype=torch.int32)),
    "a list": _put(_WK, [1.0]),
    "no numbers": _put(_WK, torch.zeros(12, 48, device="meta")),
    "a sparse tensor": _put(_WK, torch.zeros(12, 48).to_sparse()),
    "a key that is no name": _put(3, torch.zeros(2)),
    "no dict": _saved([1, 2]),
    "a pickle that runs code": _saved({"norm.weight": _Payload()}),
    "a truncated shard": _truncate,
    "an empty shard": lambda directory: shard(directory, 1).write_bytes(b""),
    "a directory for a shard": _not_a_file,
    "no shards": lambda directory: [shard(directory, number).unlink() for number in (0, 1)],
    "first missing": lambda directory: shard(directory, 0).unlink(),
    "gap": lambda directory: shard(directory, 1).rename(shard(directory, 2)),
    "last missing": lambda directory: shard(directory, 1).unlink(),
    "three digits": lambda directory: shard(directory, 1).rename(directory / "consolidated.001.pth"),
    "another name": lambda directory: (directory / "consolidated.pth").write_bytes(b""),
}

PARAMS_DEFECTS: dict[str, Defect] = {
    "no dim": _say(dim=...),
    "no n_heads": _say(n_heads=None),
    "dim": _say(dim=96),
    "dim as text": _say(dim="48"),
    "n_layers": _say(n_layers=1),
    "more n_layers than can be": _say(n_layers=2**31 - 1),
    "n_layers as a float": _say(n_layers=2.0),
    "n_heads that do not divide": _say(n_heads=5),
    "odd heads": _say(n_heads=16),
    "n_heads too large": _say(n_heads=2**40),
    "n_kv_heads": _say(n_kv_heads=6),
    "no n_kv_heads": _say(n_kv_heads=...),
    "n_kv_heads that do not divide": _say(n_kv_heads=4),
    "vocab_size": _say(vocab_size=31),
    "vocab_size true": _say(vocab_size=True),
    "vocab_size -2": _say(vocab_size=-2),
    "multiple_of": _say(multiple_of=64),
    "multiple_of 0": _say(multiple_of=0),
    "no multiple_of": _say(multiple_of=...),
    "no ffn_dim_multiplier": _say(ffn_dim_multiplier=...),
    "ffn_dim_multiplier too large": _say(ffn_dim_multiplier=1e299),
    "ffn_dim_multiplier negative": _say(ffn_dim_multiplier=-1),
    "norm_eps 0": _say(norm_eps=0),
    "norm_eps as text": _say(norm_eps="1e-5"),
    "rope_theta of many digits": _say(rope_theta=10**400),
    "use_scaled_rope": _say(use_scaled_rope=1),
    "rope_scaling_factor": _say(rope_scaling_factor=True),
    "rope_high_freq_factor": _say(use_scaled_rope=True, rope_scaling_factor=8, rope_high_freq_factor=1),
    "max_seq_len": _say(max_seq_len=0),
    "unknown key": _say(moe_args={"num_experts": 8}),
    "a key twice": _with_duplicate,
    "NaN": _write('{"dim": NaN}'),
    "a number too large": _write('{"norm_eps": 1e999, "dim": 48, "n_layers": 2, "n_heads": 6, "max_seq_len": 4}'),
    "an array": _write("[]"),
    "no JSON": _write("dim = 48"),
    "no UTF-8": _write(b"\xff\xfe"),
    "too many digits": _write('{"dim": ' + "9" * 5000 + "}"),
    "too deep": _write("[" * 200_000),
    "too long": _write(" " * 10_000_001),
    "no params.json": lambda directory: (directory / "params.json").unlink(),
}
