"""Models and sessions in memory of the caller's, and digests computed in C."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from helpers.models import same_bits, toy_file
from reader_c._reader import ffi, lib

import reader_c
from reader_c.build import SOURCE_DIR

FORMATS = ("v0", "v1", "v1-fp32", "v2", "v3")
POSITIONS = 9


class Placed:
    """A file, the model of it and a session, all in buffers that Python owns."""

    def __init__(self, content: bytes | bytearray, *, shifted: int = 0) -> None:
        self.content = aligned(len(content) + shifted)
        self.content[shifted : shifted + len(content)] = np.frombuffer(content, np.uint8)
        self.room = aligned(lib.rc_model_room())
        self.status, self.model = ffi.new("rc_status *"), ffi.new("rc_model **")
        at = ffi.from_buffer("uint8_t[]", self.content) + shifted
        room = ffi.from_buffer("uint8_t[]", self.room)
        self.code = lib.rc_open_memory(at, len(content), room, self.model, self.status)

    def needed(self, capacity: int, threads: int = 1) -> int:
        size = ffi.new("int64_t *")
        assert lib.rc_session_room(self.model[0], capacity, threads, size, self.status) == lib.RC_OK
        return int(size[0])

    def place(self, buffer: np.ndarray, size: int, capacity: int = POSITIONS) -> Any:
        session = ffi.new("rc_session **")
        room = ffi.from_buffer("uint8_t[]", buffer)
        self.code = lib.rc_session_place(self.model[0], capacity, 1, room, size, session, self.status)
        return session[0]

    def said(self) -> tuple[str, int, int, int]:
        field = ffi.string(self.status.field).decode()
        return field, self.status.offset, self.status.expected, self.status.found


def aligned(size: int, shift: int = 0) -> np.ndarray:
    """Bytes at a multiple of 64, or `shift` behind one."""
    whole = np.zeros(size + 128, np.uint8)
    start = -whole.ctypes.data % 64 + shift
    return whole[start : start + size]


@pytest.fixture(params=FORMATS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return toy_file(tmp_path, request.param)


@pytest.mark.parametrize("arithmetic", ["mirror", "fast"])
def test_a_model_in_memory_has_the_logits_of_the_file(file: Path, arithmetic: str) -> None:
    placed = Placed(file.read_bytes())
    assert placed.code == lib.RC_OK
    with reader_c.open(file) as model:
        expected = model.forward(np.arange(POSITIONS), arithmetic=arithmetic)  # type: ignore[arg-type]
    size = placed.needed(POSITIONS)
    # beyond its bytes nothing is written
    buffer = aligned(size + 64)
    buffer[size:] = 0xA5
    session = placed.place(buffer, size)
    tokens, logits = np.arange(POSITIONS, dtype=np.int32), np.empty_like(expected)
    options = ffi.new("rc_options *", {"arithmetic": lib.RC_FAST if arithmetic == "fast" else lib.RC_MIRROR})
    code = lib.rc_session_forward(
        session,
        ffi.from_buffer("int32_t[]", tokens),
        POSITIONS,
        options,
        ffi.from_buffer("float[]", logits),
        placed.status,
    )
    assert code == lib.RC_OK
    assert same_bits(logits, expected)
    assert (buffer[size:] == 0xA5).all()
    # what the caller owns is the caller's to free: the model and the session are as they were
    lib.rc_session_close(session)
    lib.rc_close(placed.model[0])
    assert lib.rc_model_config(placed.model[0]).file_size == file.stat().st_size


def test_a_broken_file_is_refused_as_on_disk(file: Path) -> None:
    content = file.read_bytes()[:-1]
    file.write_bytes(content)
    with pytest.raises(reader_c.InvalidFileError) as caught:
        reader_c.open(file)
    placed = Placed(content)
    assert (placed.code, placed.model[0]) == (lib.RC_INVALID, ffi.NULL)
    assert placed.said()[0] == caught.value.field == "file size"


@pytest.mark.parametrize("shifted", [1, 2, 3])
def test_a_file_at_an_odd_address_is_refused(file: Path, shifted: int) -> None:
    placed = Placed(file.read_bytes(), shifted=shifted)
    assert (placed.code, placed.model[0]) == (lib.RC_ARGUMENT, ffi.NULL)
    assert placed.said() == ("address of the file", -1, 4, shifted)
    assert Placed(file.read_bytes(), shifted=4).code == lib.RC_OK


def test_a_room_that_is_too_small_or_not_aligned_is_refused(tmp_path: Path) -> None:
    placed = Placed(toy_file(tmp_path, "v3").read_bytes())
    size = placed.needed(POSITIONS)
    assert placed.place(aligned(size), size - 1) == ffi.NULL
    assert (placed.code, placed.said()) == (lib.RC_ARGUMENT, ("bytes for the session", -1, size, size - 1))
    assert placed.place(aligned(size, 8), size) == ffi.NULL
    assert (placed.code, placed.said()) == (lib.RC_ARGUMENT, ("address of the session", -1, 64, 8))
    assert placed.place(aligned(size), size) != ffi.NULL


def test_a_session_of_more_positions_needs_more(tmp_path: Path) -> None:
    placed = Placed(toy_file(tmp_path, "v3").read_bytes())
    sizes = [placed.needed(capacity) for capacity in (1, 2, 9)]
    assert sizes == sorted(set(sizes))
    assert placed.place(aligned(64), 64, 0) == ffi.NULL
    assert (placed.code, placed.said()) == (lib.RC_ARGUMENT, ("positions", -1, 1, 0))


# ---- digests ----


@pytest.fixture
def content(tmp_path: Path) -> bytearray:
    return bytearray(toy_file(tmp_path, "v3").read_bytes())


def digests(content: bytes | bytearray, *, tensors: bool) -> tuple[int, str, int]:
    placed = Placed(content)
    assert placed.code == lib.RC_OK
    code = lib.rc_check_digests(placed.model[0], tensors, placed.status)
    return code, ffi.string(placed.status.field).decode() if code else "", placed.status.offset


def test_digests_as_written_are_right(content: bytearray) -> None:
    assert digests(content, tensors=True) == (lib.RC_OK, "", -1)


def test_a_changed_bit_of_a_tensor_is_detected_on_request(content: bytearray, tmp_path: Path) -> None:
    path = tmp_path / "changed.bin"
    path.write_bytes(content)
    with reader_c.open(path) as model:
        (span,) = model.spans("layers.1.feed_forward.w2.weight")
        at = model._find("layers.1.feed_forward.w2.weight")[0].digest_at
    content[span.offset] ^= 1
    assert digests(content, tensors=False) == (lib.RC_OK, "", -1)
    assert digests(content, tensors=True) == (lib.RC_INVALID, "feed_forward.w2.weight", at)


def test_a_changed_digest_of_head_or_model_is_detected(content: bytearray, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with reader_c.open(path) as model:
        end = model.head_size - 32
    changed = bytearray(content)
    changed[end] ^= 1
    assert digests(changed, tensors=False) == (lib.RC_INVALID, "head digest", end)
    changed = bytearray(content)
    changed[160] ^= 1
    changed[end : end + 32] = blake3(bytes(changed[:end])).digest()
    assert digests(changed, tensors=False) == (lib.RC_INVALID, "model digest", 160)


def test_other_formats_have_no_digests(tmp_path: Path) -> None:
    placed = Placed(toy_file(tmp_path, "v2").read_bytes())
    assert lib.rc_check_digests(placed.model[0], 0, placed.status) == lib.RC_ARGUMENT
    assert placed.said() == ("format (only v3 has digests)", -1, lib.RC_V3, lib.RC_V2)


@pytest.mark.slow
def test_blake3_is_its_authors(tmp_path: Path) -> None:
    library = tmp_path / "blake3.so"
    subprocess.run(["gcc", "-std=c11", "-O1", "-shared", "-fPIC", SOURCE_DIR / "blake3.c", "-o", library], check=True)
    compiled = ctypes.CDLL(str(library))
    state = ctypes.create_string_buffer(4096)
    digest = ctypes.create_string_buffer(32)
    content = np.random.default_rng(0).integers(0, 256, 70_000, np.uint8).tobytes()
    sizes = [*range(67), *(n + d for n in (128, 1024, 2048, 3072, 4096, 5120, 31744, 65536) for d in (-1, 0, 1))]
    for size in sizes:
        for step in (size or 1, 64, 1000):
            compiled.rc_blake3_begin(state)
            for start in range(0, size, step):
                part = content[start : min(start + step, size)]
                compiled.rc_blake3_add(state, part, ctypes.c_int64(len(part)))
            compiled.rc_blake3_end(state, digest)
            assert digest.raw == blake3(content[:size]).digest(), (size, step)
