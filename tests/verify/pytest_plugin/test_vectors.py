"""Golden vectors in other people's pytest: an engine on disk, and one that a test calls."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.models import toy_file

import reader_c
from verify.errors import CannotJudgeError
from verify.pytest_plugin.vectors import AskedVectors, VectorsRun, asked_vectors
from verify.system.digests import sha256_of
from verify.vectors import GoldenVectors, WindowVectors, assert_vectors, encode
from verify.vectors.golden import AT, KEPT

pytest_plugins = ["pytester"]

# Where the package is installed, pytest has loaded the plugin already, and does not take it twice.
_INSTALLED = any(entry.value == "verify.pytest_plugin" for entry in metadata.entry_points(group="pytest11"))
PLUGIN = () if _INSTALLED else ("-p", "verify.pytest_plugin")
TOKENS = [1, 2, 3]
# An engine with a mistake from position 2 on, if it is asked for.
OWN_TESTS = """
import numpy as np
import pytest
import reader_c

def engine(tokens, wrong=0.0):
    with reader_c.open("model.bin") as model:
        logits = model.forward(tokens)
    logits[2, 4] += wrong
    return logits

def test_right(assert_golden_vectors):
    assert_golden_vectors(engine)

def test_wrong(assert_golden_vectors):
    assert_golden_vectors(lambda tokens: engine(tokens, 100.0))

def test_of_nothing(assert_golden_vectors):
    pass

def test_own():
    pass
"""


def vectors_of(file: Path) -> GoldenVectors:
    """Keep every logit of the reader's for three tokens, each with a standard deviation of 0.5."""
    with reader_c.open(file) as model:
        logits = model.forward(TOKENS)
    at, kept = np.zeros(3, AT), np.zeros(logits.shape, KEPT)
    at["position"], kept["id"], kept["sigma"], kept["logit"] = range(3), range(logits.shape[1]), 0.5, logits
    window = WindowVectors(np.array(TOKENS), at, kept, None)
    vocab_size = logits.shape[1]
    return GoldenVectors(vocab_size, vocab_size, 10.0, 0, sha256_of(file.read_bytes()), "cd" * 32, (window,))


def test_a_function_is_held_to_every_window(tmp_path: Path) -> None:
    known = vectors_of(toy_file(tmp_path, "v3"))
    expected = known.windows[0].kept["logit"]
    (tmp_path / "a.vec").write_bytes(encode(known))
    assert assert_vectors(tmp_path / "a.vec", lambda tokens: expected[: len(tokens)].tolist()).logits == expected.size
    wrong = expected.copy()
    wrong[1, 3] += 8
    with pytest.raises(AssertionError) as failed:
        assert_vectors(known, lambda _: wrong)
    found = np.float32(wrong[1, 3])
    assert str(failed.value) == (
        f"window 0, position 1, token 3: expected {expected[1, 3]:.9g}, found {found:.9g}: 16 standard deviations, "
        "where 10 are the limit"
    )
    with pytest.raises(CannotJudgeError, match=r"^window 0: expected logits that are floats, found int64$"):
        assert_vectors(known, lambda _: wrong.astype(np.int64))
    with pytest.raises(CannotJudgeError, match=r"^window 0: expected logits of shape "):
        assert_vectors(known, lambda _: wrong[:2])


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    file = toy_file(pytester.path, "v3").rename("model.bin")
    Path("model.vec").write_bytes(encode(vectors_of(file)))
    pytester.makepyfile(test_mine=OWN_TESTS)
    return pytester


def asked(project: pytest.Pytester, *options: str) -> AskedVectors | None:
    return asked_vectors(project.parseconfig(*PLUGIN, *options))


def test_what_cannot_be_meant_is_refused(project: pytest.Pytester) -> None:
    vectors, file = ("--verify-vectors", "model.vec"), ("--verify-file", "model.bin")
    found = asked(project, *vectors, *file)
    assert found is not None
    assert (found.path, found.file) == (project.path / "model.vec", project.path / "model.bin")
    for options, message in (
        (("--verify-vectors", "no.vec"), "--verify-vectors: expected a file, found none: no.vec"),
        ((*vectors, *file, "--verify-file", "b"), "--verify-vectors: expected one --verify-file, found 2"),
        ((*vectors, *file[:1], "no.bin"), "--verify-file: expected a file, found none: no.bin"),
        ((*vectors, "--verify-engine", "model.bin"), "--verify-engine: expected --verify-file beside it, found none"),
        (
            (*vectors, "--verify-engine-command", "x"),
            "--verify-engine-command: expected --verify-file beside it, found none",
        ),
    ):
        with pytest.raises(pytest.UsageError) as refused:
            asked(project, *options)
        assert str(refused.value) == message


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["alone", "xdist"])
def test_engines_on_disk_and_in_tests_are_compared(project: pytest.Pytester, workers: tuple[str, ...]) -> None:
    plugin = (*PLUGIN, "-W", "error", "-rA", *workers)
    ran = project.runpytest_inprocess(*plugin, "--verify-vectors", "model.vec", "--verify-file", "model.bin")
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    assert ran.parseoutcomes() == {"passed": 4, "failed": 1, "errors": 1}
    text = ran.stdout.str()
    assert "PASSED model.vec::vectors" in text
    assert "assert_golden_vectors: expected a call with an engine, found none in this test" in text
    assert ran.outlines.count("PASS model.vec: 87 logits at 3 positions, at most 0.00 of 10 standard deviations") == 2
    (failed,) = [line for line in ran.outlines if line.startswith("FAIL model.vec: window 0, position 2, token 4: ")]
    assert failed.endswith("standard deviations, where 10 are the limit")


def test_vectors_that_no_test_uses_fail_the_session(project: pytest.Pytester) -> None:
    ran = project.runpytest_inprocess(*PLUGIN, "--verify-vectors", "model.vec", "-k", "own")
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    assert ran.parseoutcomes() == {"passed": 1, "deselected": 3}
    ran.stdout.fnmatch_lines(["NOT JUDGED model.vec: expected an engine to be compared, found none: give its *"])
    without = project.runpytest_inprocess(*PLUGIN, "-k", "right")
    assert without.parseoutcomes() == {"errors": 1, "deselected": 3}
    without.stdout.fnmatch_lines(["assert_golden_vectors: expected --verify-vectors FILE, found none"])


def test_what_cannot_be_compared_is_not_judged(project: pytest.Pytester) -> None:
    options = ("--verify-vectors", "model.vec", "--verify-file", "model.bin", "model.vec")
    failing = "python -c 'import sys; sys.exit(3)' {file} {tokens} {logits}"
    ran = project.runpytest_inprocess(*PLUGIN, *options, "--verify-engine-command", failing)
    assert ran.parseoutcomes() == {"failed": 1}
    ran.stdout.fnmatch_lines(["the engine failed: *", "FAIL model.vec: *"])
    content = Path("model.bin").read_bytes()
    for wrong, message in ((content[:-1], "*model.bin: *"), (content + bytes(64), "*model.bin: *")):
        Path("model.bin").write_bytes(wrong)
        ran = project.runpytest_inprocess(*PLUGIN, *options)
        assert ran.parseoutcomes() == {"failed": 1}
        ran.stdout.fnmatch_lines([message, f"NOT JUDGED model.vec: {message}"])
        assert "Traceback" not in ran.stdout.str()


def test_collecting_alone_compares_nothing() -> None:
    run: Any = VectorsRun(AskedVectors(Path("a.vec"), None, {}))
    session = SimpleNamespace(config=SimpleNamespace(option=SimpleNamespace(collectonly=True)), exitstatus=0)
    run.pytest_sessionfinish(session)
    assert session.exitstatus == 0
    session.config.option.collectonly = False
    run.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED
    run.pytest_runtest_logreport(
        SimpleNamespace(when="call", user_properties=[("export-and-verify-vectors", "PASS")])
    )
    session.exitstatus = 0
    run.pytest_sessionfinish(session)
    assert session.exitstatus == 0
