"""The reader in one file: every compiler and language gets the library's bits from it."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from helpers import tokenizer_blocks as blocks
from helpers.arch_draws import TOGETHER
from helpers.arch_files import Arch, random_weights, write
from helpers.command_line import run
from helpers.models import same_bits, toy_file
from helpers.pages import ROOT, examples
from helpers.tokenizer_blocks import Block
from single_header import single_header

import reader_c
from verify.demo import CHECKPOINT
from verify.vectors import checker_source

pytestmark = pytest.mark.slow

PROGRAM = ROOT / "tests" / "lib" / "helpers" / "single_logits.c"
EXAMPLE = ROOT / "examples" / "single-header" / "generate.c"
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
LINKED = ("-lm", "-lpthread")
TOKENS = 29
MIRROR = "0"
SMALL_STACK = 64 << 10


class Build(NamedTuple):
    compile_with: tuple[str, ...]
    run_by: tuple[str, ...] = ()
    stack: int = 0


C, CPP = ("-std=c11", "-O1"), ("-x", "c++", "-std=c++17", "-O1")
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
BUILDS = {
    "gcc, C11": Build(("gcc", *C)),
    "gcc, C++17": Build(("g++", *CPP)),
    "clang, C11": Build(("clang", *C)),
    "clang, C++17": Build(("clang++", *CPP)),
    "gcc, C11, 64 KiB of stack": Build(("gcc", *C), stack=SMALL_STACK),
    "clang, C++17, 64 KiB of stack": Build(("clang++", *CPP), stack=SMALL_STACK),
    "32-bit ARM, gcc, C11": Build(("arm-linux-gnueabihf-gcc", "-static", *C), ("qemu-arm",)),
    "aarch64, gcc, C11": Build(("aarch64-linux-gnu-gcc", "-static", *C), ("qemu-aarch64",)),
    "gcc, C11, sanitizers": Build(("gcc", *C, *SANITIZE)),
    # a processor that has fused multiply-add, and a language that lets the compiler use it
    "gcc, GNU C, -march=native": Build(("gcc", "-std=gnu11", "-O3", "-march=native")),
    "clang, GNU C, -march=native": Build(("clang", "-std=gnu11", "-O3", "-march=native")),
    "gcc, C11, nothing allocated, no threads": Build(("gcc", *C, "-DRC_NO_MALLOC", "-DRC_NO_THREADS")),
    "gcc, C11, batches of 5": Build(("gcc", *C, "-DRC_MOST_BATCH=5")),
}
# the program leaves its buffers to its end
KEPT = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
LEFT_OUT = ("V3", "V0_TO_V2", "FAST", "TOKENIZER", "DIGESTS", "THREADS", "MMAP", "MALLOC")


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that holds the header."""
    directory = tmp_path_factory.mktemp("single")
    (directory / "export_and_verify.h").write_text(single_header())
    return directory


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[str], np.ndarray]]:
    """The library's logits, and what the program is to be asked for them."""
    directory = tmp_path_factory.mktemp("files")
    switched = directory / "switched.bin"
    write(switched, TOGETHER, random_weights(TOGETHER))
    files = [*(toy_file(directory, name) for name in ("v0", "v1", "v1-fp32", "v2", "v3")), switched]
    return [case for path in files for case in cases(path)]


def cases(path: Path) -> Iterator[tuple[list[str], np.ndarray]]:
    with reader_c.open(path) as model:
        tokens = np.arange(TOKENS) % model.config.vocab_size
        for number, activations in enumerate(("fp32", "q8") if model.format in {"v1", "v2"} else ("fp32",)):
            for kind, arithmetic in enumerate(("mirror", "fast")):
                for rope, name in enumerate(("computed", "file") if model.format == "v0" else ("computed",)):
                    how = {"activations": activations, "arithmetic": arithmetic, "rope": name}
                    logits = model.forward(tokens, **how)  # type: ignore[arg-type]
                    yield [str(path), str(number), str(kind), str(rope), str(TOKENS)], logits


def compiled(build: Build, header: Path, source: Path, out: Path, *more: str) -> Path:
    for program in (build.compile_with[0], *build.run_by):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here")
    linked = () if "-c" in build.compile_with else LINKED
    subprocess.run([*build.compile_with, *STRICT, f"-I{header}", source, *more, "-o", out, *linked], check=True)
    return out


@pytest.mark.parametrize("name", BUILDS)
def test_every_build_has_the_librarys_bits(
    name: str, header: Path, expected: list[tuple[list[str], np.ndarray]], tmp_path: Path
) -> None:
    build = BUILDS[name]
    program = compiled(build, header, PROGRAM, tmp_path / "program")
    limit = partial(resource.setrlimit, resource.RLIMIT_STACK, (build.stack, build.stack)) if build.stack else None
    for arguments, logits in expected:
        if build.run_by and arguments[2] == MIRROR:
            # another C library may round a sine the other way
            continue
        out = subprocess.run(
            [*build.run_by, program, *arguments], check=True, capture_output=True, preexec_fn=limit, env=KEPT
        ).stdout
        assert same_bits(np.frombuffer(out, np.float32).reshape(logits.shape), logits), arguments


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("part", LEFT_OUT)
def test_each_part_can_be_left_out(part: str, compiler: str, header: Path, tmp_path: Path) -> None:
    source = tmp_path / "all.c"
    source.write_text('#define EXPORT_AND_VERIFY_IMPLEMENTATION\n#include "export_and_verify.h"\n')
    compiled(Build((compiler, "-std=c11", "-O0", "-c", f"-DRC_NO_{part}")), header, source, tmp_path / "all.o")


OWN_MEMORY = """#include <stddef.h>
void *own_memory(void *, size_t, size_t);
#define RC_MALLOC(size) own_memory(NULL, 1, size)
#define RC_CALLOC(count, size) own_memory(NULL, count, size)
#define RC_REALLOC(pointer, size) own_memory(pointer, 1, size)
#define RC_FREE(pointer) (void)own_memory(pointer, 0, 0)
"""


@pytest.mark.parametrize("own", ["", OWN_MEMORY])
def test_nothing_is_allocated_where_that_is_left_out(own: str, header: Path, tmp_path: Path) -> None:
    source = tmp_path / "all.c"
    source.write_text(f'{own}#define EXPORT_AND_VERIFY_IMPLEMENTATION\n#include "export_and_verify.h"\n')
    options = ("-DRC_NO_MALLOC", "-DRC_NO_THREADS")
    out = compiled(Build(("gcc", "-std=c11", "-Os", "-c", *options)), header, source, tmp_path / "all.o")
    symbols = subprocess.run(["nm", "--undefined-only", out], check=True, capture_output=True, text=True).stdout
    needed = {line.split()[-1] for line in symbols.splitlines()}
    assert "memcmp" in needed
    assert ("own_memory" in needed) == bool(own)
    assert not needed & {"malloc", "calloc", "realloc", "free", "aligned_alloc", "posix_memalign", "mmap", "open"}


def test_only_the_interface_is_visible(header: Path, tmp_path: Path) -> None:
    source = tmp_path / "all.c"
    source.write_text('#define EXPORT_AND_VERIFY_IMPLEMENTATION\n#include "export_and_verify.h"\n')
    out = compiled(Build(("gcc", "-std=c11", "-O1", "-c")), header, source, tmp_path / "all.o")
    symbols = subprocess.run(
        ["nm", "--defined-only", "--extern-only", out], check=True, capture_output=True, text=True
    )
    visible = {line.split()[-1] for line in symbols.stdout.splitlines()}
    assert visible == set(re.findall(r"^RC_API [^(]*?(rc_\w+)\(", single_header(), re.MULTILINE))
    assert {"rc_open", "rc_sample", "rc_tokenizer_encode"} <= visible


@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast"])
def test_loose_floating_point_is_refused(flag: str, header: Path, tmp_path: Path) -> None:
    command = ["gcc", "-std=c11", flag, f"-I{header}", PROGRAM, "-o", tmp_path / "program", *LINKED]
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "the bits are defined for strict floating point: compile without -ffast-math" in refused.stderr
    assert refused.returncode


# ---- programs of users ----


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A v3 file with its tokenizer."""
    path = tmp_path_factory.mktemp("model") / "model.bin"
    tokenizer = Block(
        flags=blocks.BEGINS,
        pretokenizer=blocks.GPT2,
        pieces=[*(bytes([byte]) for byte in range(256)), b"<s>", b"</s>", b"ab"],
        merges=[(97, 98)],
        added=[(256, blocks.SPECIAL), (257, blocks.SPECIAL)],
        bos=256,
        eos=257,
        eos_ids=[257],
    )
    shape = replace(Arch(), vocab_size=259)
    write(path, shape, random_weights(shape), tokenizer=tokenizer.content())
    return path


def test_the_example_prints_what_the_command_prints(header: Path, path: Path, tmp_path: Path) -> None:
    example = compiled(Build(("gcc", "-std=c11", "-O2")), header, EXAMPLE, tmp_path / "generate")
    lines = [line for line in EXAMPLE.read_text().splitlines() if line]
    assert len(lines) <= 60
    for prompt, steps, temperature, seed in (
        (b"ab<s>a", 20, 0, 1),
        (b"", 30, 9, 7),
        (b"aab c", 3, 1, 2),
        # a prompt may end with what ends a text
        (b"a</s>", 9, 1, 3),
    ):
        command = [example, path, prompt, *map(str, (steps, temperature, seed))]
        printed = subprocess.run(command, capture_output=True, check=True).stdout
        how = {"steps": steps, "temperature": temperature, "seed": seed, "arithmetic": "mirror"}
        with reader_c.open(path) as model:
            assert model.tokenizer is not None
            expected = b"".join(reader_c.generate(model, model.tokenizer, prompt, **how))  # type: ignore[arg-type]
        assert printed == expected + b"\n"
        assert len(printed) > 3


def test_the_example_refuses_a_damaged_file(header: Path, path: Path, tmp_path: Path) -> None:
    example = compiled(Build(("gcc", "-std=c11", "-O0")), header, EXAMPLE, tmp_path / "generate")
    content = bytearray(path.read_bytes())
    with reader_c.open(path) as model:
        content[model.spans("norm.weight")[0].offset] ^= 1
    (tmp_path / "damaged.bin").write_bytes(content)
    refused = subprocess.run(
        [example, tmp_path / "damaged.bin", "", "9", "0", "1"], check=False, capture_output=True, text=True
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "error: norm.weight: expected BLAKE3 of the bytes that it covers 0\n"


def test_an_engine_of_it_passes_the_golden_vectors(header: Path, tmp_path: Path) -> None:
    (engine,) = (example.text for example in examples(ROOT / "docs" / "your-engine.md") if example.language == "c")
    (tmp_path / "mine.c").write_text(
        "#define EXPORT_AND_VERIFY_IMPLEMENTATION\n" + engine.replace("reader.h", "export_and_verify.h")
    )
    (tmp_path / "check_vectors.c").write_text(checker_source())
    model, vectors = tmp_path / "model.bin", tmp_path / "model.vec"
    assert run("export", CHECKPOINT, model, "--format", "v3").returncode == 0
    assert run("vectors", CHECKPOINT, model, vectors).returncode == 0
    build = Build(("gcc", "-std=c11", "-O2", "-DENGINE"))
    checker = compiled(build, header, tmp_path / "check_vectors.c", tmp_path / "checker", str(tmp_path / "mine.c"))
    passed = subprocess.run([checker, vectors, model], check=False, capture_output=True, text=True)
    assert (passed.returncode, passed.stdout[:4]) == (0, "pass"), passed
    # and what it is compared with is what it computed
    right = (tmp_path / "mine.c").read_text()
    wrong = right.replace("    if (pos == 0) {", "    token = pos == 3 ? 0 : token;\n    if (pos == 0) {")
    assert wrong != right
    (tmp_path / "mine.c").write_text(wrong)
    compiled(build, header, tmp_path / "check_vectors.c", tmp_path / "checker", str(tmp_path / "mine.c"))
    assert subprocess.run([checker, vectors, model], check=False, capture_output=True).returncode == 1
