"""Pickles that ask for more than tensors, as torch.save's archives and as what older versions wrote. Each would leave
a file, the canary, if any of it ran."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from helpers.checkpoints import ARGS, state_dict

_STORAGE = b"ctorch\nFloatStorage\n"
_REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(value: str) -> bytes:
    """BINUNICODE."""
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    """LONG1 or LONG4."""
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def tensor(numel: int, *, key: str = "0", offset: int = 0, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A tensor over a storage that is said to have so many floats."""
    storage = b"(" + text("storage") + _STORAGE + text(key) + text("cpu") + number(numel) + b"tQ"
    sizes = b"(" + b"".join(map(number, shape)) + b"t", b"(" + b"".join(map(number, stride)) + b"t"
    return (
        _REBUILD
        + b"("
        + storage
        + number(offset)
        + b"".join(sizes)
        + b"\x89"
        + b"ccollections\nOrderedDict\n)R"
        + b"tR"
    )


def checkpoint(of_norm: bytes) -> bytes:
    """A checkpoint whose one tensor is this."""
    return b"\x80\x02}(" + text("model") + b"}" + text("norm.weight") + of_norm + b"s" + text("model_args") + b"}u."


def calls(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Pickles that would run something, by what they use."""
    shell, python = text(f"touch {canary}"), text(f"open({str(canary)!r}, 'w')")
    touch = f"S'touch {canary}'\n".encode()
    for module, name, argument in (
        ("os", "system", shell),
        ("posix", "system", shell),
        ("subprocess", "getoutput", shell),
        ("subprocess", "check_output", shell),
        ("subprocess", "Popen", shell),
        ("pty", "spawn", shell),
        ("builtins", "eval", python),
        ("builtins", "exec", python),
        ("__builtin__", "eval", python),
        ("__builtin__", "execfile", text(str(canary))),
        ("timeit", "timeit", python),
        ("cProfile", "run", python),
        ("code", "interact", python),
        ("runpy", "run_path", text(str(canary))),
        ("importlib", "import_module", text("antigravity")),
        ("builtins", "__import__", text("this")),
        ("torch", "load", text(str(canary))),
        ("torch.hub", "load", text("someone/something")),
        ("torch.jit", "load", text(str(canary))),
        ("torch.ops", "load_library", text(str(canary))),
        ("torch.serialization", "load", text(str(canary))),
        ("numpy", "load", text(str(canary))),
        ("pickle", "loads", text("cos\nsystem\n")),
        ("ctypes", "CDLL", text("libc.so.6")),
        ("webbrowser", "open", text("http://localhost")),
        ("urllib.request", "urlopen", text("http://localhost")),
        ("shutil", "rmtree", text(str(canary.parent / "nothing"))),
        ("builtins", "open", text(str(canary)) + text("w")),
        ("pathlib", "Path.touch", text(str(canary))),
        ("functools", "partial", b"cos\nsystem\n" + shell),
        ("operator", "methodcaller", text("system") + shell),
        ("builtins", "getattr", b"cos\npath\n" + text("os")),
        ("torch._utils", "_import_dotted_name", text("os.system")),
        ("torch._dynamo.guards", "GuardBuilder.get", text("os")),
        ("torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_expr", python),
    ):
        yield f"reduce {module}.{name}", b"\x80\x02" + call(module, name, argument) + b"."
    yield "inst", b"(" + touch + b"ios\nsystem\n."
    yield "obj", b"(cos\nsystem\n" + touch + b"o."
    yield "stack_global", b"\x80\x04" + text("os") + text("system") + b"\x93(" + shell + b"tR."
    yield "newobj", b"\x80\x02csubprocess\nPopen\n(" + shell + b"t\x81."
    yield "newobj_ex", b"\x80\x04" + text("subprocess") + text("Popen") + b"\x93(" + shell + b"t}\x92."
    yield "build", b"\x80\x02ctorch.nn\nModule\n)\x81}" + text("__setstate__") + b"cos\nsystem\nsb" + shell + b"b."
    yield "build of __dict__", b"\x80\x02ccollections\nOrderedDict\n)R}" + text("__class__") + b"cos\nsystem\nsb."
    yield "ext1", b"\x80\x02\x82\x01(" + shell + b"tR."
    yield "ext4", b"\x80\x02\x84\x01\x00\x00\x00(" + shell + b"tR."
    yield "persistent id that is a call", b"\x80\x02" + call("os", "system", shell) + b"Q."
    yield "within a checkpoint", checkpoint(call("os", "system", shell))
    yield "as a key", b"\x80\x02}" + call("os", "system", shell) + text("x") + b"s."
    yield "after its end", pickle.dumps({}, 2) + call("os", "system", shell) + b"."


def lies() -> Iterator[tuple[str, bytes]]:
    """Pickles of tensors that are not there."""
    gigabytes = 50 * 10**9
    yield "storage of 200 GB", checkpoint(tensor(gigabytes, shape=(gigabytes,), stride=(1,)))
    yield "storage of 2^62 numbers", checkpoint(tensor(2**62, shape=(2**62,), stride=(1,)))
    yield "storage of -1 numbers", checkpoint(tensor(-1, shape=(4,), stride=(1,)))
    yield "shape beyond the storage", checkpoint(tensor(4, shape=(4000,), stride=(1,)))
    yield "shape that wraps", checkpoint(tensor(4, shape=(2**32, 2**32), stride=(1, 1)))
    yield "strides beyond the storage", checkpoint(tensor(4, shape=(2,), stride=(2**40,)))
    yield "negative stride", checkpoint(tensor(4, shape=(4,), stride=(-1,)))
    yield "negative offset", checkpoint(tensor(4, offset=-8, shape=(4,), stride=(1,)))
    yield "offset beyond the storage", checkpoint(tensor(4, offset=2**50, shape=(4,), stride=(1,)))
    yield "every row the same", checkpoint(tensor(4, shape=(10**9, 4), stride=(0, 1)))
    yield "a record that is missing", checkpoint(tensor(4, key="1", shape=(4,), stride=(1,)))
    yield "a record outside", checkpoint(tensor(4, key="../../../etc/passwd", shape=(4,), stride=(1,)))
    yield "a list for a root", b"\x80\x02]."
    yield "a number for a root", b"\x80\x02K\x07."
    yield "nothing", b""
    yield "no end", b"\x80\x02}"
    yield "protocol 255", b"\x80\xff}."
    yield "a frame without end", b"\x80\x04\x95" + b"\xff" * 8 + b"}."
    yield "a long of 2 GB", b"\x80\x02\x8b\xff\xff\xff\x7f."
    yield "a string of 4 GB", b"\x80\x02X\xff\xff\xff\xff."
    yield "memo never put", b"\x80\x02h\x07."
    yield (
        "laughs",
        b"\x80\x02]q\x00"
        + b"".join(b"](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1]) for i in range(40))
        + b".",
    )
    yield "100,000 levels", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."


def echoes() -> Iterator[tuple[str, bytes]]:
    """Keys that take for ever to hash."""
    tower = b"K\x01\x85q\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(60))
    yield "a tower of pairs as a key", b"\x80\x02" + tower + b"}h\x00K\x01s."
    wide = b"K\x01\x85q\x00" + b"".join(b"(" + b"h\x00" * 40 + b"tq\x00" for _ in range(12))
    yield "a broad tower as a key", b"\x80\x02" + wide + b"}h\x00K\x01s."


def archive(
    pickled: bytes, *, record: bytes = bytes(16), byteorder: bytes = b"little", name: str = "archive"
) -> bytes:
    """As torch.save writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for entry, content in (
            ("data.pkl", pickled),
            ("byteorder", byteorder),
            ("data/0", record),
            ("version", b"3\n"),
        ):
            made.writestr(f"{name}/{entry}", content)
    return out.getvalue()


def stream(pickled: bytes) -> bytes:
    """As torch.save wrote it before 1.6."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    return magic + pickle.dumps({"little_endian": True}, 2) + pickled + pickle.dumps([], 2)


def tar(pickled: bytes) -> bytes:
    """As torch.save wrote it before 0.1.10."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, content in (("sys_info", pickle.dumps({})), ("pickle", pickled), ("storages", pickle.dumps(0))):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def archives(healthy: bytes) -> Iterator[tuple[str, bytes]]:
    """Archives that are not what they seem, made of a healthy one."""
    with zipfile.ZipFile(io.BytesIO(healthy)) as opened:
        entries = {info.filename: opened.read(info) for info in opened.infolist()}
    root = next(iter(entries)).split("/")[0]

    def packed(content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", compression) as made:
            for name, data in content.items():
                made.writestr(name, data)
        return out.getvalue()

    def changed(find: bytes, replace: bytes, count: int = 1) -> bytes:
        assert find in healthy
        return healthy.replace(find, replace, count)

    yield "no version", packed({name: data for name, data in entries.items() if "version" not in name})
    yield "no pickle", packed({name: data for name, data in entries.items() if "data.pkl" not in name})
    yield "no records", packed({name: data for name, data in entries.items() if "/data/" not in name})
    yield (
        "short records",
        packed({n: data[: len(data) // 2] if "/data/" in n else data for n, data in entries.items()}),
    )
    yield "compressed", packed(entries, zipfile.ZIP_DEFLATED)
    yield "a bomb", packed({**entries, f"{root}/data/0": bytes(1 << 27)}, zipfile.ZIP_DEFLATED)
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        said = bytearray(packed(entries))
        at = said.rindex(b"PK\x01\x02", 0, said.rindex(f"{root}/byteorder".encode()))
        struct.pack_into("<H", said, at + 10, compression)
        yield f"said to be compressed, by method {compression}", bytes(said)
    yield "nested", packed({"inner.pt": healthy})
    yield "two roots", packed({**entries, "other/data.pkl": b"."})
    yield "big-endian", packed({**entries, f"{root}/byteorder": b"big"})
    yield "another endianness", packed({**entries, f"{root}/byteorder": b"middle"})
    at = healthy.index(b"PK\x01\x02")
    yield "size beyond the file", healthy[: at + 20] + b"\xff\xff\xff\x7f" * 2 + healthy[at + 28 :]
    yield "offset beyond the file", healthy[: at + 42] + b"\xff\xff\xff\x7f" + healthy[at + 46 :]
    yield "directory beyond the file", healthy[:-10] + b"\xff\xff\xff\x7f" * 2 + healthy[-2:]
    yield "torchscript", packed({**entries, f"{root}/constants.pkl": b"\x80\x02)."})
    for part in range(1, 8):
        yield f"cut at {part} eighths", healthy[: len(healthy) * part // 8]
    yield "an empty file", b""
    yield "only a directory", healthy[-22:]
    yield "text", b"import os; os.system('touch canary')\n"
    yield "a shared library", b"\x7fELF" + bytes(200)


def contents() -> Iterator[tuple[str, object]]:
    """What torch.save wrote honestly, and what is no checkpoint of plain tensors all the same."""
    state = state_dict()

    def with_norm(value: object) -> dict[str, object]:
        return {"model": {**state, "norm.weight": value}, "model_args": ARGS}

    yield "meta device", with_norm(torch.empty(48, device="meta"))
    yield "sparse", with_norm(torch.ones(48).to_sparse())
    yield "complex", with_norm(torch.ones(48, dtype=torch.complex64))
    yield "integers", with_norm(torch.ones(48, dtype=torch.int32))
    yield "conjugated", with_norm(torch.ones(48, dtype=torch.complex64).conj())
    yield "of no dimensions", with_norm(torch.tensor(1.0))
    yield "expanded", with_norm(torch.ones(1).expand(47))
    yield "a number", with_norm(1.0)
    yield (
        "a layer of 5,000 digits",
        {
            "model": {**state, f"layers.{'9' * 5000}.attention_norm.weight": torch.ones(48)},
            "model_args": ARGS,
        },
    )
    yield "numbers for names", {"model": {7: torch.ones(3)}, "model_args": ARGS}
    yield "no model_args", {"model": state}
    yield "model_args of text", {"model": state, "model_args": "dim=48"}
    for field, value in (
        *(("dim", value) for value in (0, -48, 2**31, 2**63, 1e300, float("nan"), "48", True, [48])),
        *(("n_layers", value) for value in (10**9, 2**40, -1)),
        *(("n_heads", value) for value in (0, 7, 2**31)),
        ("vocab_size", 2**62),
        ("max_seq_len", 0),
    ):
        yield f"{field} {value!r}", {"model": state, "model_args": {**ARGS, field: value}}
    for field in ("dim", "n_heads", "norm_eps", "rope_theta", "max_seq_len"):
        for name, value in structures():
            yield f"{field}: {name}", {"model": state, "model_args": {**ARGS, field: value}}
    for name, value in structures(()):
        yield f"a key: {name}", {"model": {**state, value: torch.ones(3)}, "model_args": ARGS}


def structures(innermost: Any = ("x",)) -> Iterator[tuple[str, Any]]:
    """What takes few bytes and has a long repr, or none."""
    deep: Any = innermost
    for _ in range(5000):
        deep = (deep,)
    yield "5,000 levels", deep
    wide: Any = innermost
    for _ in range(16):
        wide = (wide, wide)
    yield "16 levels of two, each twice the same", wide
    yield "a number of 600 digits", 10**600


def files(canary: Path, save: Callable[[object], bytes]) -> Iterator[tuple[str, bytes]]:
    """All of them, by name. save: torch.save to bytes."""
    for name, pickled in (*calls(canary), *lies()):
        yield f"zip: {name}", archive(pickled)
        yield f"stream: {name}", stream(pickled)
        yield f"tar: {name}", tar(pickled)
    for name, pickled in echoes():
        yield f"zip: {name}", archive(pickled)
    healthy = save({"model": state_dict(), "model_args": ARGS})
    for name, content in archives(healthy):
        yield f"archive: {name}", content
    for name, value in contents():
        yield f"content: {name}", save(value)
