"""Golden vectors in use: healthy engines pass the checkers in Python and in C, and each mistake fails both alike."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import toy_engine
from helpers.command_line import refused, run, without_progress
from helpers.defects.engine import Patch
from helpers.engines import library
from helpers.faulty_engines import FLOAT_FAULTS
from helpers.models import arrays, config
from helpers.upstream import Engine as Upstream

import exporter
import reader_c
from verify.checks.metrics import digest_of
from verify.engine.command import Engine
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.evidence.generated import random_windows
from verify.vectors import (
    GoldenVectors,
    Made,
    check_engine,
    check_logits,
    checker_source,
    encode,
    make_vectors,
    read_vectors,
)
from verify.vectors.checking import check_reader, saved_logits

MODEL = config(dim=64, hidden_dim=96, n_layers=3, n_heads=4, n_kv_heads=2, vocab_size=96, max_seq_len=128)
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-O2")
# Mistakes of the numpy engine that show within the windows, by class.
MISTAKES = (
    *("LogitsScaled", "LogitsCapped", "EmbeddingScaled", "NormPlusOne", "FinalNormMissing", "Relu", "QueriesEarly"),
    *("AnglesStop", "KvHeadsModulo", "HalfSplit", "WindowOf64", "OneTokenWrong", "ValuesLate", "ScoresOverHeadSize"),
    *("HalfPrecisionCache", "GeluTanh", "Temperature", "LogProbabilities", "LastLayerMissing", "SmallEpsilon"),
    *(
        "FullCache",
        "ZeroEmbedding",
        "WindowInOddLayers",
        "KeysNotRotated",
        "GatesClipped",
        "LogitsInBfloat16",
        "Noisy",
    ),
)
# Of those compiled from the C reader's source, thirteen: the position from which each computes something else.
COMPILED = {
    "GELU for SiLU": 0,
    "embedding for the classifier": 0,
    "everything forgotten at position 64": 64,
    "feed-forward before attention": 0,
    "gate and up exchanged": 0,
    "kv head off by one": 0,
    "logits of zeros": 0,
    # the first position is not rotated
    "rotated the other way": 1,
    # position 48 itself is rotated as it should be
    "RoPE stands still from position 48 on": 49,
    "only the last 32 positions attended": 32,
    # one score alone has all of the weight
    "scores divided by the head size": 1,
    "softmax by a fast exponential": 1,
    "the last product of each row dropped": 0,
}


class Bench:
    """A source, files of it, their vectors, and the checker in C."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.source = directory, directory / "source.bin"
        checkpoint = exporter.Checkpoint.from_arrays(MODEL, arrays(MODEL))
        exporter.export(checkpoint, self.source, format="v3")
        self.file, self.quantized = directory / "model.bin", directory / "q8.bin"
        exporter.export(checkpoint, self.file, format="v0")
        exporter.export(checkpoint, self.quantized, format="v2", group_size=32)
        self.made, self.made_q8 = make_vectors(self.source, self.file), make_vectors(self.source, self.quantized)
        self.checker = self.compiled("checker", "-lm")

    def compiled(self, name: str, *more: object) -> Path:
        source = self.directory / "check_vectors.c"
        source.write_text(checker_source())
        out = self.directory / name
        subprocess.run(["gcc", *STRICT, source, "-o", out, *more], check=True)
        return out

    def by_c(self, made: Made, logits: list[np.ndarray], *options: str) -> subprocess.CompletedProcess[str]:
        """What the checker in C says of logits."""
        vectors, saved = self.directory / "a.vec", self.directory / "logits"
        vectors.write_bytes(encode(made.vectors))
        np.concatenate(logits).tofile(saved)
        return subprocess.run([self.checker, *options, vectors, saved], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def test_they_say_of_which_file_and_source_they_are(bench: Bench) -> None:
    found = bench.made.vectors
    source = hashlib.sha256(bench.source.read_bytes()).hexdigest()
    assert found.file_sha256 == hashlib.sha256(bench.file.read_bytes()).hexdigest()
    assert found.file_size == bench.file.stat().st_size
    assert found.source_sha256 == hashlib.sha256(f"{source}  source.bin\n".encode()).hexdigest()
    assert (found.int8, bench.made_q8.vectors.int8) == (False, True)


def test_the_windows_are_awkward(bench: Bench) -> None:
    windows = bench.made.vectors.windows
    fed = np.concatenate([window.tokens for window in windows])
    assert set(range(16)) | set(range(80, 96)) <= set(fed.tolist())
    assert max(len(window.tokens) for window in windows) == 128
    for window in windows:
        assert window.at["position"][0] == 0
        assert window.at["position"][-1] == len(window.tokens) - 1
        for at, kept in zip(window.at, window.kept, strict=True):
            position = int(at["position"])
            assert at["first"] in kept["id"]
            if position + 1 < len(window.tokens):
                assert window.tokens[position + 1] in kept["id"]


@pytest.mark.parametrize("arithmetic", ["mirror", "fast"])
def test_the_reader_passes_both_checkers(bench: Bench, arithmetic: reader_c.Arithmetic) -> None:
    for path, made in ((bench.file, bench.made), (bench.quantized, bench.made_q8)):
        with reader_c.open(path) as model:
            logits = [model.forward(window.tokens, arithmetic=arithmetic) for window in made.vectors.windows]
        found = check_logits(made.vectors, logits)
        assert found.passed
        assert found.worst <= made.worst
        said = bench.by_c(made, logits)
        assert said.returncode == 0
        assert said.stdout == (
            f"pass: {found.logits} logits at {found.positions} positions, at most {found.worst:.2f} of 10 standard "
            f"deviations\n"
        )


def test_runq_c_s_arithmetic_passes_to_the_bit_and_no_other_does(bench: Bench) -> None:
    vectors = bench.made_q8.vectors
    with reader_c.open(bench.quantized) as model:
        exact, other = (
            [model.forward(w.tokens, activations="q8", arithmetic=arithmetic) for w in vectors.windows]
            for arithmetic in ("mirror", "fast")
        )
    assert check_logits(vectors, exact, int8=True).passed
    assert bench.by_c(bench.made_q8, exact, "-8").stdout.endswith(" positions, the same bits\n")
    first = check_logits(vectors, other, int8=True).first
    assert first is not None
    said = bench.by_c(bench.made_q8, other, "-8")
    assert (said.returncode, said.stdout) == (1, f"fail: {first}\n")
    assert said.stdout.endswith(": expected the same bits\n")


def test_upstream_s_run_c_passes(bench: Bench, tmp_path: Path) -> None:
    # that version of run.c knows no grouped queries
    model = config(dim=64, hidden_dim=96, n_heads=4, n_kv_heads=4, vocab_size=96, max_seq_len=70)
    checkpoint = exporter.Checkpoint.from_arrays(model, arrays(model))
    source, file = tmp_path / "source.bin", tmp_path / "model.bin"
    exporter.export(checkpoint, source, format="v3")
    exporter.export(checkpoint, file, format="v0")
    made = make_vectors(source, file)
    logits = []
    for window in made.vectors.windows:
        with Upstream(file) as engine:
            logits.append(np.stack([engine.step(int(t), p) for p, t in enumerate(window.tokens)]))
    assert check_logits(made.vectors, logits).passed
    assert bench.by_c(made, logits).returncode == 0


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_fails_both_checkers_at_the_same_place(bench: Bench, mistake: str) -> None:
    vectors = bench.made.vectors
    logits = [getattr(toy_engine, mistake)(bench.file).logits(window.tokens) for window in vectors.windows]
    found = check_logits(vectors, logits)
    assert found.first is not None
    said = bench.by_c(bench.made, logits)
    assert said.returncode == 1
    # the two programs round the last digit of the distance alike, but for its last bit
    assert said.stdout.partition(": expected")[0] == f"fail: {found.first}".partition(": expected")[0]
    # nothing before that place is wrong, and that place is
    places = [
        (number, position, int(token), abs(float(logits[number][position, token]) - logit) / sigma)
        for number, window in enumerate(vectors.windows)
        for position, kept in zip(window.at["position"].tolist(), window.kept, strict=True)
        for token, sigma, logit in kept.tolist()
    ]
    first = next(place for place in places if not place[3] <= vectors.limit)
    assert first[:3] == (found.first.window, found.first.position, found.first.token)


def test_a_healthy_engine_of_numpy_passes(bench: Bench) -> None:
    logits = [toy_engine.Healthy(bench.file).logits(window.tokens) for window in bench.made.vectors.windows]
    assert check_logits(bench.made.vectors, logits).passed
    assert bench.by_c(bench.made, logits).returncode == 0


def first_kept(vectors: GoldenVectors, begins: int) -> tuple[int, int]:
    """Return the window and the position of the first kept logits from a position on."""
    return next(
        (number, position)
        for number, window in enumerate(vectors.windows)
        for position in window.at["position"].tolist()
        if position >= begins
    )


@pytest.mark.slow
def test_compiled_engines_run_under_the_checker(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The checker calls an engine's own three functions, and names the first position that a mistake changes."""
    kept = tmp_path_factory.mktemp("objects")
    vectors = bench.directory / "engine.vec"
    vectors.write_bytes(encode(bench.made.vectors))
    faults: list[tuple[str, Patch | None]] = [("healthy", None), *((name, FLOAT_FAULTS[name]) for name in COMPILED)]
    for number, (name, patch) in enumerate(faults):
        made = library(tmp_path_factory.mktemp(f"engine{number}") / "e", kept, patch)
        program = bench.compiled(f"with{number}", "-DENGINE", made, f"-Wl,-rpath,{made.parent}", "-lm")
        said = subprocess.run([program, vectors, bench.file], capture_output=True, text=True, check=False)
        found = check_engine(bench.made.vectors, Engine(library=made), bench.file)
        if patch is None:
            assert (said.returncode, found.passed) == (0, True)
            continue
        window, position = first_kept(bench.made.vectors, COMPILED[name])
        assert said.returncode == 1, name
        assert said.stdout.startswith(f"fail: window {window}, position {position}, token "), (name, said.stdout)
        assert said.stdout.partition(": expected")[0] == f"fail: {found.first}".partition(": expected")[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "VECTORS: expected golden vectors of version 1"),
        (b"gvec\2\0\0\0" + bytes(300), "VECTORS: expected golden vectors of version 1"),
        (b"gvec\1\0\0\0" + bytes(300), "VECTORS: expected golden vectors of version 1"),
    ],
)
def test_the_checker_refuses_what_are_no_vectors(bench: Bench, content: bytes, message: str, tmp_path: Path) -> None:
    vectors = tmp_path / "a.vec"
    vectors.write_bytes(content)
    said = subprocess.run([bench.checker, vectors, vectors], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (2, "", f"error: {message}\n")


def test_the_checker_survives_vectors_that_are_cut_anywhere(bench: Bench, tmp_path: Path) -> None:
    vectors, logits = tmp_path / "a.vec", tmp_path / "logits"
    content = encode(bench.made.vectors)
    logits.write_bytes(bytes(1 << 20))
    for size in [*range(0, 400, 7), len(content) // 2, len(content) - 1]:
        vectors.write_bytes(content[:size])
        said = subprocess.run([bench.checker, vectors, logits], capture_output=True, text=True, check=False)
        # zeros are no logits: the first window may fail before the end is reached
        assert said.returncode in (1, 2)
        assert said.returncode == 1 or said.stderr.startswith("error: VECTORS: ")


def test_the_checker_is_as_short_as_promised() -> None:
    assert len(checker_source().splitlines()) <= 150


# ---- the commands ----


def test_the_commands_write_and_check(bench: Bench, tmp_path: Path) -> None:
    out, plain, checker = tmp_path / "m.vec", tmp_path / "m.json", tmp_path / "c.c"
    made = run("vectors", bench.source, bench.file, out, "--as-json", plain, "--checker", checker)
    assert (made.returncode, without_progress(made.stderr)) == (0, "")
    assert re.fullmatch(
        rf"{out}: [0-9,]+ bytes: 32 logits at each of [0-9,]+ positions in [0-9]+ windows\n"
        r"most likely token certified at [0-9,]+ of [0-9,]+ positions \([0-9.]+%\); the reader's worst logit: "
        r"[0-9.]+ of 10 standard deviations\n",
        made.stdout,
    )
    assert out.read_bytes() == encode(bench.made.vectors)
    assert checker.read_text() == checker_source()
    assert plain.read_text().startswith('{"version": 1, "vocab_size": 96,')
    found = run("check-vectors", out, bench.file)
    assert (found.returncode, found.stdout[:6]) == (0, "pass: ")
    command = f"{sys.executable} -m helpers.toy_engine Relu {{file}} {{tokens}} {{logits}}"
    wrong = run("check-vectors", out, bench.file, "--engine-command", f"env PYTHONPATH={_lib()} {command}")
    assert (wrong.returncode, wrong.stdout[:15]) == (1, "fail: window 0,")
    refused(run("vectors", bench.source, bench.file, out), "OUT: expected nothing there, found a file")
    refused(run("check-vectors", out, bench.quantized), f"{bench.quantized}: sha256: expected ")
    refused(run("check-vectors", bench.file, bench.file), f"{bench.file}: magic: expected b'gvec'")
    refused(run("check-vectors", tmp_path / "none", bench.file), "none: no such file or directory")
    refused(
        run("check-vectors", out, bench.file, "--engine-command", f"{command}", "--engine-activations", "q8"),
        "expected vectors of a Q8_0 file",
    )


def _lib() -> Path:
    return Path(toy_engine.__file__).parents[1]


def test_a_file_of_another_model_gets_no_vectors(bench: Bench, tmp_path: Path) -> None:
    other, out = tmp_path / "other.bin", tmp_path / "m.vec"
    exporter.export(exporter.Checkpoint.from_arrays(MODEL, arrays(MODEL, 1)), other, format="v0")
    result = run("vectors", bench.source, other, out)
    assert (result.returncode, result.stdout) == (2, "")
    assert without_progress(result.stderr).startswith(
        f"error: {other}: tensors: expected the model of {bench.source}, "
    )
    assert not out.exists()
    with pytest.raises(CannotJudgeError, match="kept: expected at least 2"):
        make_vectors(bench.source, bench.file, kept=1)


def test_given_windows_are_the_windows(bench: Bench) -> None:
    evidence = Evidence(tokens=[np.array([3, 1, 4, 1, 5])], windows=1, length=4, seed=7)
    windows = make_vectors(bench.source, bench.file, evidence=evidence, kept=96).vectors.windows
    assert windows[0].tokens.tolist() == [3, 1, 4, 1, 5]
    assert [len(window.tokens) for window in windows] == [5, 4, 4, 4, 64]
    assert all((window.kept["id"] == np.arange(96)).all() for window in windows)


def test_the_positions_that_a_report_found_worst_are_kept(bench: Bench) -> None:
    (window,) = random_windows(96, [128], 5)
    judged: Any = SimpleNamespace(
        file={"sha256": bench.made.vectors.file_sha256},
        evidence={"seed": 5, "depth": "quick"},
        windows=[
            SimpleNamespace(
                window=0, activations="fp32", origin="random", tokens_sha256=digest_of(window.tokens), kl=(0.0,) * 128
            )
        ],
        checks=[
            SimpleNamespace(name=name, where={"window": 0, "position": position})
            for name, position in (("execution", 36), ("engine", 77))
        ],
    )
    made = make_vectors(bench.source, bench.file, evidence=Evidence(windows=1, length=4), report=judged)
    number = len(made.vectors.windows) - 1
    assert made.from_report == ((number, 36), (number, 77))
    assert made.vectors.windows[number].tokens.tolist() == window.tokens.tolist()
    assert {36, 77} <= set(made.vectors.windows[number].at["position"].tolist())


def test_saved_logits_have_the_size_of_all_windows(bench: Bench, tmp_path: Path) -> None:
    saved = tmp_path / "logits"
    saved.write_bytes(bytes(12))
    with pytest.raises(
        CannotJudgeError, match=r"logits: expected [0-9]+ x 96 float32 logits \([0-9]+ bytes\), found 12$"
    ):
        saved_logits(bench.made.vectors, saved)
    vectors = tmp_path / "a.vec"
    vectors.write_bytes(encode(bench.made.vectors))
    assert encode(read_vectors(vectors)) == encode(bench.made.vectors)
    assert check_reader(bench.made.vectors, bench.file).passed
