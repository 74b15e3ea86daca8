"""Directories of Hugging Face's and Meta's kind, and safetensors, that are not what they seem."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Change = Callable[[Path], None]

INDEX = "model.safetensors.index.json"


def _header(said: bytes, *, length: int | None = None, payload: bytes = bytes(64)) -> bytes:
    return struct.pack("<Q", len(said) if length is None else length) + said + payload


def _tensor(dtype: str = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def safetensors() -> Iterator[tuple[str, bytes]]:
    """Whole files."""
    yield "an empty file", b""
    yield "half a length", b"\x08\0\0\0"
    for length in (0, 1, 2**63, 2**64 - 1, 2**40, 100_000_000):
        yield f"a header of {length} bytes", _header(b"{}", length=length)
    yield "an array", _header(b"[]")
    yield "no JSON", _header(b"{" * 40)
    yield "no UTF-8", _header(b'{"\xff": 1}')
    yield "100,000 levels", _header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    pair = json.dumps(_tensor()).encode()
    yield "a name twice", _header(b'{"a":' + pair + b',"a":' + pair + b"}", payload=bytes(16))
    for name, tensor in (
        ("overlapping", {"a": _tensor(), "b": _tensor(offsets=(8, 24))}),
        ("a hole", {"a": _tensor(), "b": _tensor(offsets=(32, 48))}),
        ("beyond the file", {"a": _tensor(shape=(4000,), offsets=(0, 16000))}),
        ("backwards", {"a": _tensor(offsets=(16, 0))}),
        ("negative", {"a": _tensor(offsets=(-16, 0))}),
        ("an unknown type", {"a": _tensor("F31")}),
        ("a type of no numbers", {"a": _tensor(7)}),  # type: ignore[arg-type]
        ("a shape that wraps", {"a": _tensor(shape=(2**32, 2**32, 4))}),
        ("a shape of text", {"a": _tensor(shape=("4",))}),
        ("a negative shape", {"a": _tensor(shape=(-4,))}),
        ("another length than its shape", {"a": _tensor(shape=(5,))}),
        ("metadata of numbers", {"__metadata__": {"a": 1}, "a": _tensor()}),
    ):
        yield name, _header(json.dumps(tensor).encode())
    yield "bytes behind the last", _header(json.dumps({"a": _tensor()}).encode(), payload=bytes(17))


def _write(name: str, content: object) -> Change:
    def change(directory: Path) -> None:
        made = content if isinstance(content, bytes) else json.dumps(content).encode()
        (directory / name).write_bytes(made)

    return change


def _say(name: str, **said: object) -> Change:
    def change(directory: Path) -> None:
        path = directory / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **said}))

    return change


def _as_shards(weight_map: Callable[[dict[str, str]], object]) -> Change:
    """One shard and an index of it, which says something else."""

    def change(directory: Path) -> None:
        content = (directory / "model.safetensors").read_bytes()
        names = json.loads(content[8 : 8 + struct.unpack_from("<Q", content)[0]])
        (directory / "model.safetensors").rename(directory / "model-00001-of-00001.safetensors")
        honest = {name: "model-00001-of-00001.safetensors" for name in names if name != "__metadata__"}
        (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map(honest)}))

    return change


def _first(value: object) -> Change:
    return _as_shards(lambda honest: {**honest, next(iter(honest)): value})


def _in_place_of_the_shard(make: Callable[[Path], None]) -> Change:
    def change(directory: Path) -> None:
        shard = directory / "model-00001-of-00001.safetensors"
        _as_shards(lambda honest: honest)(directory)
        shutil.copy(shard, directory.parent / "outside.safetensors")
        shard.unlink()
        make(shard)

    return change


def huggingface() -> Iterator[tuple[str, Change]]:
    """What is done to a healthy directory."""
    for name, content in safetensors():
        yield f"safetensors: {name}", _write("model.safetensors", content)
    for value in (
        "../outside.safetensors",
        "/etc/passwd",
        "/outside.safetensors",
        "sub/../model-00001-of-00001.safetensors",
        "..",
        ".",
        "",
        ".safetensors",
        "model\0.safetensors",
        "C:\\model.safetensors",
        "model\n.safetensors",
        "missing.safetensors",
        "config.json",
        7,
        None,
        ["model-00001-of-00001.safetensors"],
    ):
        yield f"index: a shard called {value!r}", _first(value)
    yield "index: one tensor too many", _as_shards(lambda honest: {**honest, "more": next(iter(honest.values()))})
    yield "index: one tensor too few", _as_shards(lambda honest: dict(list(honest.items())[1:]))
    yield "index: a million entries", _as_shards(lambda _: {f"t{i}": f"{i}.safetensors" for i in range(10**6)})
    yield "index: an array", _as_shards(list)
    yield "index: empty", _as_shards(lambda _: {})
    yield "shard: a directory", _in_place_of_the_shard(Path.mkdir)
    yield "shard: a FIFO", _in_place_of_the_shard(os.mkfifo)
    yield "shard: a device", _in_place_of_the_shard(lambda path: path.symlink_to("/dev/zero"))
    yield "shard: a link out", _in_place_of_the_shard(lambda path: path.symlink_to("../outside.safetensors"))
    yield "shard: a link in a circle", _in_place_of_the_shard(lambda path: path.symlink_to(path.name))
    for name in ("config.json", INDEX):
        yield f"{name}: 100 MB", _write(name, b'{"a": "' + b"x" * 100_000_000 + b'"}')
        yield f"{name}: 100,000 levels", _write(name, b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
        yield f"{name}: a key twice", _write(name, b'{"model_type": "llama", "model_type": "llama"}')
        yield f"{name}: no UTF-8", _write(name, b'{"model_type": "\xff"}')
        yield f"{name}: empty", _write(name, b"")
        yield f"{name}: text", _write(name, b"import os")
        yield f"{name}: a number of a million digits", _write(name, b'{"a": ' + b"1" * 10**6 + b"}")
    for field in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size"):
        for value in ("48", 0, -1, 2**31, 2**63, 1e999, float("nan"), None, True, [48], {"a": 1}, 48.5):
            yield f"config.json: {field} {value!r}", _say("config.json", **{field: value})
    for value in (1e999, -1.0, 0, "1e-5", True, float("nan")):
        yield f"config.json: rms_norm_eps {value!r}", _say("config.json", rms_norm_eps=value)
    for field in ("rms_norm_eps", "rope_theta", "max_position_embeddings"):
        yield f"config.json: {field} of 400 digits", _say("config.json", **{field: 10**400})
    for field in ("factor", "attention_factor", "beta_fast", "original_max_position_embeddings"):
        yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 16}
        yield f"config.json: {field} of 400 digits", _say("config.json", rope_parameters={**yarn, field: 10**400})
    yield "config.json: code of its own", _say("config.json", auto_map={"AutoModelForCausalLM": "evil.Model"})
    yield "config.json: another model", _say("config.json", model_type="os.system")


def meta() -> Iterator[tuple[str, Change]]:
    for name, content in (
        ("a key twice", b'{"dim": 48, "dim": 48}'),
        ("100,000 levels", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        ("100 MB", b'{"a": "' + b"x" * 100_000_000 + b'"}'),
        ("an array", b"[]"),
        ("empty", b""),
        ("no UTF-8", b'{"dim": "\xff"}'),
    ):
        yield f"params.json: {name}", _write("params.json", content)
    for field in ("dim", "n_layers", "n_heads", "vocab_size", "multiple_of"):
        for value in ("48", 0, -2, 2**63, 1e999, [1], True):
            yield f"params.json: {field} {value!r}", _say("params.json", **{field: value})
    yield "shard: text", _write("consolidated.00.pth", b"import os")
    yield "shard: empty", _write("consolidated.00.pth", b"")
