"""What programs may rely on: names, signatures, docstrings, reprs, versions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers.checkpoints import save, state_dict
from helpers.models import toy_file

import exporter
import reader_c
import verify
import verify.testing
from verify.run.options import Options

PACKAGES = (exporter, reader_c, verify)

# These compute from what they hold, and have nothing to refuse.
NEVER_RAISE = {
    "exporter.Checkpoint.__init__",
    "reader_c.paths",
    "reader_c.best_path",
    "reader_c.Model.close",
    "reader_c.QuantizedTensor.dequantize",
    "verify.Evidence.describe",
    "verify.Report.to_dict",
    "verify.Report.to_html",
    "verify.Report.to_json",
    "verify.testing.checkpoints",
    "verify.testing.configs",
    "verify.testing.random_arrays",
    "verify.testing.rope_scalings",
    "verify.testing.weights",
}

# Options of a verdict that only this package sets: release() says what it requested, verify() writes no report, and
# only the command line has settings that nobody typed.
NOT_OPTIONS_OF_VERIFY = {"requested", "report_dir", "notes"}


def public(package: ModuleType) -> Iterator[tuple[str, Any]]:
    for name in package.__all__:
        yield f"{package.__name__}.{name}", getattr(package, name)


def documented() -> dict[str, Any]:
    """Every public function, class and method, by its full name."""
    found: dict[str, Any] = {}
    for full, value in (pair for package in (*PACKAGES, verify.testing) for pair in public(package)):
        if inspect.isfunction(value):
            found[full] = value
        elif inspect.isclass(value):
            found[full] = value
            for name in dir(value):
                method = inspect.getattr_static(value, name)
                ours = getattr(method, "fget", method)
                ours = getattr(ours, "__func__", getattr(ours, "func", ours))
                if not name.startswith("_") and getattr(ours, "__module__", "").split(".")[0] in (
                    "exporter",
                    "reader_c",
                    "verify",
                ):
                    found[f"{full}.{name}"] = method
    return found


SURFACE = documented()
CALLED = {
    name: getattr(value, "__func__", value)
    for name, value in SURFACE.items()
    if inspect.isfunction(getattr(value, "__func__", value))
}
CLASSES = {name: value for name, value in SURFACE.items() if inspect.isclass(value)}


def section(text: str, title: str) -> str | None:
    """The text of a section of a docstring, without its title; None where there is none."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)*)", f"{inspect.cleandoc(text)}\n", re.MULTILINE)
    return found and found[1]


def entries(text: str) -> set[str]:
    """The names that a section describes: "a: ...", or "a, b: ..."."""
    joined = re.sub(r",\n\s+", ", ", text)
    return {name for names in re.findall(r"^ {4}(\w[\w, ]*?):", joined, re.MULTILINE) for name in names.split(", ")}


@pytest.mark.parametrize("name", SURFACE)
def test_everything_public_says_what_it_does_in_a_whole_sentence(name: str) -> None:
    value = SURFACE[name]
    text = inspect.getdoc(getattr(value, "__func__", value)) or ""
    first = text.split("\n\n")[0]
    assert len(first.split()) > 2, name
    assert first.endswith((".", ":")), name


@pytest.mark.parametrize("name", CALLED)
def test_functions_name_every_argument_the_result_and_the_errors(name: str) -> None:
    function = CALLED[name]
    text = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    arguments = set(signature.parameters) - {"self", "cls", "draw"}
    assert entries(section(text, "Args") or "") == arguments
    if signature.return_annotation not in ("None", "NoReturn", inspect.Signature.empty):
        assert section(text, "Returns")
    assert bool(section(text, "Raises")) != (name in NEVER_RAISE)


@pytest.mark.parametrize("name", [name for name, value in CLASSES.items() if not issubclass(value, Exception)])
def test_classes_name_every_field_or_argument(name: str) -> None:
    value = CLASSES[name]
    if name == "verify.Report":
        return  # its fields are those of report.json, whose schema describes them
    text = inspect.getdoc(value) or ""
    if is_dataclass(value) or issubclass(value, tuple):
        names = {field.name for field in fields(value)} if is_dataclass(value) else set(value._fields)  # type: ignore[attr-defined]
        assert entries(section(text, "Attributes") or "") == names
    elif name != "reader_c.Walk":  # Model.trace() makes it
        assert entries(section(text, "Args") or "") == set(inspect.signature(value).parameters)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_knows_its_version_and_lists_its_names(package: ModuleType) -> None:
    assert package.__version__ == metadata.version("export-and-verify")
    assert set(package.__all__) <= set(dir(package)) | {"__version__"}
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("function", [exporter.export, verify.release, verify.testing.assert_roundtrip])
def test_a_format_is_called_format_everywhere(function: Any) -> None:
    assert "format" in inspect.signature(function).parameters


def test_no_public_parameter_is_called_otherwise_or_takes_anything() -> None:
    for name, function in CALLED.items():
        for parameter in inspect.signature(function).parameters.values():
            assert parameter.name not in ("format_name", "fmt", "options"), name
            assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL), name


def test_verify_takes_every_option_of_a_verdict_by_name() -> None:
    options = {field.name for field in fields(Options)} - NOT_OPTIONS_OF_VERIFY
    verifying = set(inspect.signature(verify.verify).parameters)
    assert verifying == options | {"source", "path", "windows", "depth"}
    releasing = set(inspect.signature(verify.release).parameters)
    exporting = set(inspect.signature(exporter.export).parameters) - {"checkpoint"}
    # a release judges the tokenizer that it writes
    options -= {"tokenizer_file"}
    assert releasing == options | exporting | {
        "source",
        "windows",
        "depth",
        "report_dir",
        "sign_key",
        "tokenizer_out",
        "vectors",
    }


# ---- what they show ----


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    return save(tmp_path, state_dict()), toy_file(tmp_path, "v2", tied=True)


def test_reprs_are_one_short_line(paths: tuple[Path, Path], tmp_path: Path) -> None:
    source, file = paths
    checkpoint = exporter.open_checkpoint(source)
    summary = exporter.export(source, tmp_path / "out.bin", format="v1")
    assert re.fullmatch(
        rf"<exporter\.Checkpoint '{source}': llama2c, \d+ layers of dim \d+, [\d,]+ parameters>", repr(checkpoint)
    )
    assert re.fullmatch(
        rf"<exporter\.ExportSummary '{tmp_path}/out\.bin': v1, [\d,]+ bytes, \d+ tensors, "
        r"sha256 [0-9a-f]{12}\.\.\.>",
        repr(summary),
    )
    with reader_c.open(file) as model, model.session(4) as session:
        session.forward([1, 2])
        assert re.fullmatch(rf"<reader_c\.Model '{file}': v2, \d+ layers of dim \d+, [\d,]+ bytes>", repr(model))
        assert repr(session) == f"<reader_c.Session of '{file}': position 2 of 4>"
        assert re.fullmatch(
            r"<QuantizedTensor \d+ x \d+, groups of \d+>", repr(model["layers.0.attention.wq.weight"])
        )
        walk = model.trace([1, 2])
        assert repr(walk) == f"<reader_c.Walk of 2 tokens through '{file}'>"
        assert repr(next(iter(walk))) == "<reader_c.Stage outside the layers: embedding>"
    assert repr(model).endswith(" bytes, closed>")
    assert repr(session).endswith("position 2 of 4, closed>")


def test_a_report_shows_itself_in_a_line_and_in_a_notebook(paths: tuple[Path, Path]) -> None:
    source, file = paths
    report = verify.verify(source, file, depth="quick", windows=1)
    assert repr(report) == f"<verify.Report pass {file}: 7 of 7 checks passed>"
    shown = report._repr_html_()
    assert shown.count("<tr>") == 1 + len(report.checks)
    for check in report.checks:
        assert f"<td>{check.name}</td>" in shown
    assert len(shown) < 8000
    assert "<script" not in shown


def test_a_report_of_a_hostile_path_stays_one_line_of_text(paths: tuple[Path, Path], tmp_path: Path) -> None:
    source, file = paths
    hostile = file.rename(tmp_path / "a\n<b>\x1b[31m&.bin")
    report = verify.verify(source, hostile, depth="quick", windows=1)
    assert len(repr(report).splitlines()) == 1
    assert repr(report).isprintable()
    assert "<b>\x1b" not in report._repr_html_()
    assert "&lt;b&gt;\\x1b[31m&amp;.bin" in report._repr_html_()


# ---- tensors by name ----


def test_a_model_is_a_mapping_of_names_to_tensors(paths: tuple[Path, Path]) -> None:
    with reader_c.open(paths[1]) as model:
        assert (model["norm.weight"] == model.tensor("norm.weight")).all()
        assert tuple(model) == model.names
        assert len(model) == len(model.names)
        assert all(name in model for name in model)
        assert "norm.wait" not in model
        assert 3 not in model


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("layers.0.attention.wq", "layers.0.attention.wq.weight or "),
        ("layers.99.attention.wk.weight", "layers.1.attention.wk.weight or "),
        ("model.norm.weight", "norm.weight"),
        ("xyz", "one of model.names"),
    ],
)
def test_an_unknown_tensor_leads_to_the_nearest_names(paths: tuple[Path, Path], wrong: str, nearest: str) -> None:
    with reader_c.open(paths[1]) as model, pytest.raises(KeyError) as error:
        model[wrong]
    assert isinstance(error.value, reader_c.ReaderError)
    assert str(error.value).startswith(f"{paths[1]}: tensor: expected {nearest}")
    assert str(error.value).endswith(f"found {wrong!r}")
    # no name that this file does not have
    assert ".bias" not in str(error.value)
    checkpoint = exporter.open_checkpoint(paths[0])
    with pytest.raises(KeyError) as refused:
        checkpoint.load(wrong)
    assert isinstance(refused.value, exporter.ExportError)
    start, _, end = str(refused.value).partition(" expected ")
    assert start == f"{paths[0]}: tensor:"
    assert end.startswith(nearest.replace("model.names", "checkpoint.names"))


# ---- paths, wherever a path is meant ----


def test_paths_may_be_text_everywhere(paths: tuple[Path, Path], tmp_path: Path) -> None:
    source, out, tokens = str(paths[0]), str(tmp_path / "released.bin"), str(tmp_path / "tokens.npy")
    np.save(tokens, np.arange(8).reshape(2, 4))
    evidence = verify.Evidence(depth="quick", windows=1, tokens=tokens)  # type: ignore[arg-type]
    released = verify.release(source, out, format="v2", evidence=evidence)
    assert released.report.passed
    saved = str(released.report_dir / "report.json")
    assert verify.read_report(saved).verdict == "pass"
    assert verify.judge(saved, out).checks == released.report.checks
    assert verify.inspect(out)["format"] == "v2"
    with pytest.raises(verify.CannotJudgeError, match=r"^no\.so: expected an engine's shared library, found no such"):
        verify.verify(source, out, engine=verify.Engine(library="no.so"))  # type: ignore[arg-type]
    assert exporter.export(source, str(tmp_path / "again.bin"), format="v2").sha256 == released.summary.sha256


def test_release_takes_windows_or_evidence_as_verify_does(paths: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = paths[0], tmp_path / "released.bin"
    for function in (verify.verify, verify.release):
        named = {} if function is verify.verify else {"format": "v2"}
        with pytest.raises(ValueError, match=r"^give windows or evidence, not both$"):
            function(source, out, windows=1, evidence=verify.Evidence(depth="quick"), **named)  # type: ignore[operator]
    released = verify.release(source, out, format="v2", windows=1, depth="quick")
    assert released.report.evidence["depth"] == "quick"
    assert released.report.evidence["windows"]["random"] == 1


def test_an_option_is_refused_before_the_source_is_opened(tmp_path: Path) -> None:
    with pytest.raises(exporter.FormatError, match="format: expected one of v0, "):
        exporter.export(tmp_path / "no such source", tmp_path / "out.bin", format="v9")
