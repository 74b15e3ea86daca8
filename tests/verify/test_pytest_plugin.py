"""The pytest plugin, as other people's pytest runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from helpers.checkpoints import save, state_dict
from helpers.prepared import run_prepared

import exporter
import verify
from verify.checks.result import checks_made
from verify.pytest_plugin.options import asked_of
from verify.run.options import Options

pytestmark = pytest.mark.slow

# Of a .bin file, where nothing more is asked for.
CHECKS = checks_made(directory=False, engine=False, coverage=False, baseline=False)

pytest_plugins = ["pytester"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "pytest-project"

# Where the package is installed, pytest has loaded the plugin already, and does not take it twice.
_INSTALLED = any(entry.value == "verify.pytest_plugin" for entry in metadata.entry_points(group="pytest11"))
PLUGIN = () if _INSTALLED else ("-p", "verify.pytest_plugin")

# Counts how often something was judged, in whatever process.
COUNTING = """
import verify.verdict

judge = verify.verdict.verify

def counting(*arguments, **options):
    with open("judged", "a") as file:
        file.write("x")
    return judge(*arguments, **options)

verify.verdict.verify = counting
"""

# A report whose `operations` was skipped, as the policy allows or not.
SKIPPING = """
import dataclasses
import verify.verdict

judge = verify.verdict.verify

def skipping(*arguments, **options):
    report = judge(*arguments, **options)
    checks = [dataclasses.replace(c, status="skipped") if c.name in {names} else c for c in report.checks]
    policy = dataclasses.replace(report.policy, may_be_skipped={allowed})
    return dataclasses.replace(report, checks=tuple(checks), policy=policy)

verify.verdict.verify = skipping
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A directory with a source, a healthy file of it, one with a flipped bit, and one that lacks its last byte."""
    source = save(pytester.path, state_dict()).rename(pytester.path / "model.pt")
    exporter.export(exporter.open_checkpoint(source), "model.bin", format="v1-fp32")
    content = bytearray(Path("model.bin").read_bytes())
    Path("cut.bin").write_bytes(content[:-1])
    # of some weight's exponent, in its highest byte
    content[len(content) // 8 * 4 + 3] ^= 1
    Path("broken.bin").write_bytes(content)
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """A warning is an error there, as in a careful project. Workers are started anew, with a pytest that is."""
    arguments = (*PLUGIN, "-W", "error", "-rA", *arguments)
    if "-n" in arguments:
        return project.runpytest_subprocess(*arguments)
    out, err = project.path / "stdout", project.path / "stderr"
    for path in (out, err):
        path.unlink(missing_ok=True)
    status = run_prepared("pytest", *arguments, out=out, err=err)
    return pytest.RunResult(status, out.read_text().splitlines(), err.read_text().splitlines(), 0.0)


def release(project: pytest.Pytester, file: str, *arguments: str) -> pytest.RunResult:
    options = ("--verify-source", "model.pt", "--verify-file", file, "--verify-depth", "quick")
    return run(project, *options, *arguments)


def results(ran: pytest.RunResult) -> dict[str, str]:
    """Node id -> PASSED, FAILED or SKIPPED, of -rA's lines."""
    lines = (re.match(r"(PASSED|FAILED|ERROR) (\S+)", line) for line in ran.outlines)
    return {line[2]: line[1] for line in lines if line}


@pytest.mark.parametrize("workers", [(), ("-n", "3")])
def test_each_check_is_a_test_judged_once_by_however_many_workers(
    project: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    project.makeconftest(COUNTING)
    project.makepyfile(test_own="def test_own(): pass")
    ran = release(project, "model.bin", "--verify-file", "broken.bin", *workers)
    failing = ("tensors", "operations", "execution")
    assert results(ran) == {
        "test_own.py::test_own": "PASSED",
        **{f"model.bin::{name}": "PASSED" for name in CHECKS},
        **{f"broken.bin::{name}": "FAILED" if name in failing else "PASSED" for name in CHECKS},
    }
    assert Path("judged").read_text() == "xx"
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    # where CI is set, pytest's own summary repeats each message
    text = ran.stdout.str().partition("short test summary info")[0]
    assert re.search(r"^tensors: \S+ fp32 \[\d+, \d+\]: expected \S+, found \S+$", text, re.MULTILINE)
    assert re.search(r"^  at tensor \S+, part fp32, index \[\d+, \d+\]", text, re.MULTILINE)
    assert len(re.findall(r"^most likely: .* holds the right values except one bit", text, re.MULTILINE)) == 3
    assert ran.outlines.count("PASS model.bin: 7 of 7 checks passed") == 1
    assert len([line for line in ran.outlines if line.startswith("FAIL broken.bin: tensors: ")]) == 1
    assert "Traceback" not in text


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_what_cannot_be_judged_fails_with_one_line(project: pytest.Pytester, workers: tuple[str, ...]) -> None:
    ran = release(project, "cut.bin", *workers)
    assert results(ran) == {f"cut.bin::{name}": "FAILED" for name in CHECKS}
    line = next(line for line in ran.outlines if line.startswith("NOT JUDGED cut.bin: "))
    assert re.search(r"cut\.bin: file size: expected exactly \d+, found \d+$", line)
    assert ran.outlines.count(line.removeprefix("NOT JUDGED cut.bin: ")) == len(CHECKS)
    assert "Traceback" not in ran.stdout.str()


def test_a_bad_depth_or_policy_is_told_alike(project: pytest.Pytester) -> None:
    Path("policy.toml").write_text("[v1-fp32]\n")
    ran = release(project, "model.bin", "--verify-policy", "policy.toml", "-k", "config")
    ran.stdout.fnmatch_lines(["NOT JUDGED model.bin: *policy.toml: *"])
    ran = release(project, "model.bin", "--verify-depth", "deep", "-k", "config")
    ran.stdout.fnmatch_lines(["NOT JUDGED model.bin: depth: expected one of quick, standard, full, found 'deep'"])


@pytest.mark.parametrize(
    ("names", "allowed", "passes"),
    [
        (("operations",), ("operations",), True),
        (("operations",), (), False),
        (CHECKS, CHECKS, False),
    ],
)
def test_a_skipped_check_fails_unless_the_policy_allows_it(
    project: pytest.Pytester, names: tuple[str, ...], allowed: tuple[str, ...], *, passes: bool
) -> None:
    """And where nothing at all was seen, nothing is allowed."""
    project.makeconftest(SKIPPING.format(names=names, allowed=allowed))
    ran = release(project, "model.bin")
    count = len(names)
    outcomes = {"skipped" if passes else "failed": count, "passed": len(CHECKS) - count}
    assert ran.parseoutcomes() == {kind: number for kind, number in outcomes.items() if number}
    assert ran.ret == (pytest.ExitCode.OK if passes else pytest.ExitCode.TESTS_FAILED)


def test_checks_can_be_chosen_like_any_test(project: pytest.Pytester) -> None:
    project.makeconftest(COUNTING)
    (project.path / "sub").mkdir()
    assert results(release(project, "model.bin", "model.bin::tensors")) == {"model.bin::tensors": "PASSED"}
    assert results(release(project, "model.bin", "sub", "-k", "config or file")) == {
        "model.bin::config": "PASSED",
        "model.bin::file": "PASSED",
    }
    Path("judged").unlink()
    listed = release(project, "model.bin", "--collect-only", "-q")
    assert [line for line in listed.outlines if "::" in line] == [f"model.bin::{name}" for name in CHECKS]
    assert not Path("judged").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--verify-source model.pt", "--verify-source: expected --verify-file beside it, found none"),
        ("--verify-file model.bin", "--verify-file: expected --verify-source beside it, found none"),
        ("--verify-source model.pt --verify-file no.bin", "--verify-file: expected a file, found none: no.bin"),
        (
            "--verify-source no.pt --verify-file model.bin",
            "--verify-source: expected a checkpoint, found none: no.pt",
        ),
        (
            "--verify-source model.pt --verify-file model.bin --verify-policy no.toml",
            "--verify-policy: expected a file, found none: no.toml",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_an_error_of_use(
    project: pytest.Pytester, options: str, message: str
) -> None:
    ran = run(project, *options.split())
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in ran.errlines if line] == [f"ERROR: {message}"]


def test_without_the_options_nothing_happens_and_nothing_heavy_is_loaded(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_light():
            assert "verify.pytest_plugin" in sys.modules
            assert not {"torch", "numpy", "filelock", "exporter", "reader_c"} & sys.modules.keys()
        """
    )
    ran = pytester.runpytest_subprocess(*PLUGIN, "-W", "error", "-rA", "-p", "no:hypothesispytest")
    assert ran.parseoutcomes() == {"passed": 1}
    assert "export-and-verify" not in ran.stdout.str().partition("collected")[2]


def test_importing_the_plugin_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, verify.pytest_plugin; sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_its_tests_are_the_checks_of_a_report(project: pytest.Pytester) -> None:
    report = verify.verify(project.path / "model.pt", project.path / "model.bin", depth="quick")
    assert tuple(check.name for check in report.checks) == CHECKS


def test_the_example_project_passes_by_several_workers(pytester: pytest.Pytester) -> None:
    for path in EXAMPLE.iterdir():
        if path.is_file():
            shutil.copy(path, pytester.path)
    # its law is one of ours, which is tried on more models elsewhere
    few = "settings.register_profile('few', max_examples=10)\nsettings.load_profile('few')\n"
    pytester.makeconftest(f"from hypothesis import settings\n\n{few}")
    # seeded: the examples that it draws here are always the same
    ran = pytester.runpytest_subprocess(*PLUGIN, "--hypothesis-seed=0", "-n", "2")
    assert ran.parseoutcomes() == {"passed": 2}


@pytest.mark.parametrize(
    "arguments",
    [
        ("-k", "not tensors"),
        ("--deselect", "broken.bin::tensors"),
        ("-k", "config"),
        ("-k", "not tensors", "-n", "2"),
    ],
    ids=" ".join,
)
def test_a_file_that_fails_fails_the_session_whichever_checks_are_selected(
    project: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    result = release(project, "broken.bin", *arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAIL *broken.bin: tensors: *"])


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_a_file_none_of_whose_checks_runs_fails_the_session(
    project: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    project.makepyfile(test_ok="def test_ok():\n    pass\n")
    result = release(project, "model.bin", "-k", "test_ok", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["NOT JUDGED: expected a verdict on 1 file more, found that no check of theirs*"])
    assert result.parseoutcomes()["passed"] == 1


def test_a_selection_without_any_test_fails_too(project: pytest.Pytester) -> None:
    assert release(project, "model.bin", "-k", "nothing_is_called_so").ret == pytest.ExitCode.TESTS_FAILED


def test_collecting_alone_judges_nothing(project: pytest.Pytester) -> None:
    result = release(project, "broken.bin", "--collect-only")
    assert result.ret == pytest.ExitCode.OK
    assert "JUDGED" not in result.stdout.str()


def test_a_directory_is_judged_by_the_checks_that_it_has(project: pytest.Pytester) -> None:
    exporter.export(exporter.open_checkpoint("model.pt"), "for transformers", format="hf")
    config = Path("for transformers/config.json")
    ran = release(project, "for transformers")
    assert ran.ret == pytest.ExitCode.OK
    assert ran.outlines.count("PASS for transformers: 6 of 6 checks passed") == 1
    config.write_text(config.read_text().replace("10000.0", "20000.0"))
    ran = release(project, "for transformers", "-k", "config")
    ran.stdout.fnmatch_lines(["FAIL for transformers: config: rope_theta: expected 10000.0, found 20000.0"])
    assert "operations" not in ran.stdout.str()
    config.unlink()
    assert run(project, "--verify-source", "model.pt", "--verify-file", "for transformers").ret == 4


# ---- options ----

DEMANDING = """
[v1-fp32]
may_be_skipped = []
operations = { error_over_bound = 1.0 }
execution = { noise_sigmas = 10.0 }
baseline = { kl_mean = 1e-5, top1_agreement = 1e-3, rms_logit_error = 0.05, perplexity_ratio = 1.0002 }
coverage = { windows = WINDOWS }
"""


def test_a_policy_that_demands_coverage_has_an_item_for_it(project: pytest.Pytester) -> None:
    Path("policy.toml").write_text(DEMANDING.replace("WINDOWS", "1000"))
    ran = release(project, "model.bin", "--verify-policy", "policy.toml")
    assert results(ran) == {
        **{f"model.bin::{name}": "PASSED" for name in CHECKS},
        "model.bin::coverage": "FAILED",
    }
    ran.stdout.fnmatch_lines(["FAIL model.bin: coverage: *"])
    Path("policy.toml").write_text(DEMANDING.replace("WINDOWS", "1"))
    assert results(release(project, "model.bin", "--verify-policy", "policy.toml"))["model.bin::coverage"] == "PASSED"


def test_coverage_that_is_demanded_of_another_format_is_skipped(project: pytest.Pytester) -> None:
    of_another = DEMANDING.replace("v1-fp32", "v2").replace("WINDOWS", "1000")
    plain = re.sub("coverage = .*", "", DEMANDING)
    Path("policy.toml").write_text(of_another + plain)
    ran = release(project, "model.bin", "--verify-policy", "policy.toml")
    assert ran.parseoutcomes() == {"passed": len(CHECKS), "skipped": 1}
    assert ran.ret == pytest.ExitCode.OK


def test_an_engine_and_a_baseline_have_items_and_the_report_is_written(project: pytest.Pytester) -> None:
    broken = "python -c 'import sys; sys.exit(3)' {file} {tokens} {logits}"
    reports = ("--verify-report", "reports")
    assert release(project, "model.bin", *reports).ret == pytest.ExitCode.OK
    names = {"attestation.json", "junit.xml", "report.html", "report.json", "summary.md"}
    assert {path.name for path in Path("reports/model.bin").iterdir()} == names
    assert verify.read_report("reports/model.bin/report.json").passed
    baseline = ("--verify-baseline", "reports/model.bin/report.json")
    ran = release(project, "model.bin", *baseline, "--verify-engine-command", broken, "--verify-report", "later")
    assert results(ran) == {
        **{f"model.bin::{name}": "PASSED" for name in (*CHECKS, "baseline")},
        "model.bin::engine": "FAILED",
    }
    found = verify.read_report("later/model.bin/report.json")
    assert [check.name for check in found.checks] == list(
        checks_made(directory=False, engine=True, coverage=False, baseline=True)
    )


def test_what_is_said_of_the_source_and_the_evidence_reaches_the_verdict(project: pytest.Pytester) -> None:
    here = project.path
    (here / "text.txt").touch()
    said = {
        **dict.fromkeys(("policy", "text", "tokenizer", "tokens", "baseline", "engine"), "text.txt"),
        **{"depth": "full", "windows": "3", "length": "5", "seed": "7", "report": "out", "adapter": "lora"},
        **{"engine-activations": "q8", "engine-timeout": "9", "memory": "1000", "source-kind": "meta"},
        **{"max-seq-len": "16", "rope-theta": "5e5", "rope-scaling-factor": "8"},
    }
    words = [word for name, value in said.items() for word in (f"--verify-{name}", value)]
    own = ("--verify-source", "model.pt", "--verify-file", "model.bin", "--verify-untied", "--verify-follow-links")
    asked = asked_of(project.parseconfig(*PLUGIN, *own, *words))
    assert asked is not None
    text = here / "text.txt"
    assert asked.options(here / "model.bin") == Options(
        policy=text,
        baseline=text,
        evidence=verify.Evidence("full", 3, 5, 7, text, text, text),
        engine=verify.Engine(library=text, seconds=9.0, activations="q8"),
        max_seq_len=16,
        source_kind="meta",
        follow_links=True,
        adapter=here / "lora",
        rope_theta=5e5,
        rope_scaling_factor=8.0,
        tied=False,
        memory=1000,
        report_dir=here / "out" / "model.bin",
    )
    assert asked_of(project.parseconfig(*PLUGIN)) is None
    plain = asked_of(project.parseconfig(*PLUGIN, *own[:4]))
    assert plain is not None
    assert plain.options(here / "model.bin") == Options()


def test_one_matrix_or_two_is_for_the_user_to_say(project: pytest.Pytester) -> None:
    assert release(project, "model.bin", "--verify-tied").ret == pytest.ExitCode.OK
    assert release(project, "model.bin", "--verify-untied").ret == pytest.ExitCode.TESTS_FAILED


def test_two_files_of_one_name_cannot_share_a_report(project: pytest.Pytester) -> None:
    (project.path / "other").mkdir()
    shutil.copy("model.bin", "other")
    ran = release(project, "model.bin", "--verify-file", "other/model.bin", "--verify-report", "reports")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --verify-report: expected files of different names, found two of one name" in ran.errlines


def test_a_file_with_a_tokenizer_has_the_check_of_that_name(project: pytest.Pytester) -> None:
    # what begins a v3 file: magic number and version, and at its end the size of the tokenizer block
    Path("words.bin").write_bytes(b"24ka\3\0\0\0" + bytes(184) + (64).to_bytes(8, "little"))
    listed = [line for line in release(project, "words.bin", "--collect-only", "-q").outlines if "::" in line]
    assert listed[:4] == [f"words.bin::{name}" for name in ("config", "file", "tokenizer", "tensors")]
    without = release(project, "model.bin", "--collect-only", "-q").outlines
    assert "model.bin::tokenizer" not in without
    Path("tokenizer.bin").write_bytes(b"\0")
    named = release(project, "model.bin", "--verify-tokenizer-file", "tokenizer.bin", "--collect-only", "-q").outlines
    assert "model.bin::tokenizer" in named
