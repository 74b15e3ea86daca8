"""What users install: the command beside packages of the same names, a build without a compiler, one wheel's tag."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def start(
    *arguments: str, first: Path | None = None, program: str = "export_and_verify"
) -> subprocess.CompletedProcess[str]:
    """Start the command; first: a directory before ours on the path."""
    path = os.pathsep.join(map(str, filter(None, (first, ROOT))))
    command = [sys.executable, "-m", program, *arguments]
    # -m puts the working directory first: one that holds nothing
    cwd = ROOT if first is None else first
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("program", ["export_and_verify", "verify"])
def test_the_command_runs_where_all_packages_are_its_own(program: str) -> None:
    result = start("--version", program=program)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("export-and-verify ")


@pytest.mark.parametrize("name", ["exporter", "reader_c", "verify"])
@pytest.mark.parametrize("kind", ["package", "module"])
def test_a_package_of_another_project_is_named_in_one_line_and_not_run(name: str, kind: str, tmp_path: Path) -> None:
    foreign = tmp_path / name if kind == "package" else tmp_path / f"{name}.py"
    code = foreign
    if kind == "package":
        foreign.mkdir()
        code = foreign / "__init__.py"
    code.write_text("raise SystemExit('this is another project')")
    result = start("--version", first=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"error: {name}: expected export-and-verify's own package at {ROOT / name}, found another project's at "
        f"{foreign}: install export-and-verify where no other package is, with pipx install or uv tool install\n"
    )


def test_python_m_verify_detects_another_exporter_too(tmp_path: Path) -> None:
    (tmp_path / "exporter.py").touch()
    result = start("--version", first=tmp_path, program="verify")
    assert result.returncode == 2
    assert result.stderr.startswith("error: exporter: expected export-and-verify's own package at ")


# ---- builds ----


@pytest.mark.parametrize("command", ["bdist_wheel", "build_ext", "editable_wheel"])
def test_a_build_without_a_compiler_says_so_in_one_line_before_anything_else(command: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CC"} | {"PATH": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "setup.py", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: C compiler: expected ")
    assert " to compile the reader, found none: install gcc or clang (Debian, Ubuntu: apt install gcc; " in line


def test_clang_compiles_where_there_is_no_gcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_compiler = runpy_setup(monkeypatch)["require_compiler"]
    (tmp_path / "clang").symlink_to(shutil.which("true") or "/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("LDSHARED", raising=False)
    require_compiler()
    assert (os.environ["CC"], os.environ["LDSHARED"]) == ("clang", "clang -shared")


def test_a_build_without_pythons_headers_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require_compiler = runpy_setup(monkeypatch)["require_compiler"]
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        require_compiler()
    assert str(stop.value).startswith(
        f"error: Python's headers: expected {tmp_path}/Python.h to compile the reader, "
    )


def test_the_wheels_tag_is_that_of_the_oldest_python(monkeypatch: pytest.MonkeyPatch) -> None:
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    tag = runpy_setup(monkeypatch)["OPTIONS"]["bdist_wheel"]["py_limited_api"]
    assert oldest == f">=3.{tag.removeprefix('cp3')}"


def runpy_setup(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What setup.py defines; it builds nothing here."""
    monkeypatch.setattr("setuptools.setup", lambda **_options: None)
    return runpy.run_path(str(ROOT / "setup.py"))


# ---- what pages say ----

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINES = [
    line.strip().removeprefix("$ ").removeprefix("- ")
    for page in PAGES
    for line in page.read_text().splitlines()
    if re.match(r"\s*(\$ |- )?(pip|pipx|uv tool) install ", line)
]


@pytest.mark.parametrize("line", LINES)
def test_install_lines_mean_the_same_in_bash_and_zsh(line: str) -> None:
    """zsh takes brackets outside of quotes for a pattern, and has no comments at its prompt."""
    outside = re.sub(r"'[^']*'|\"[^\"]*\"", "", line)
    assert not set("[]*?#~") & set(outside)
    assert shlex.split(line)[:2] in (["pip", "install"], ["pipx", "install"], ["uv", "tool"])


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_install_lines_reach_the_program_unchanged(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    programs = "\n".join(f"{name}() {{ printf '%s\\n' {name} \"$@\"; }}" for name in ("pip", "pipx", "uv"))
    script = "\n".join((programs, *LINES))
    result = subprocess.run([shell, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [word for line in LINES for word in shlex.split(line)]


def test_the_first_pages_show_an_install_line_and_one_for_cpus_alone() -> None:
    for page in ("README.md", "docs/quickstart.md"):
        first = (ROOT / page).read_text().partition("```console\n")[2].partition("```")[0]
        assert first.startswith(
            "$ pip install torch --index-url https://download.pytorch.org/whl/cpu\n$ pip install "
        )


def test_the_wheel_that_the_quickstart_installs_has_the_name_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    options: Any = runpy_setup(monkeypatch)["OPTIONS"]
    start = f"export_and_verify-{project['version']}-{options['bdist_wheel']['py_limited_api']}-abi3-manylinux_"
    wheels = [line for line in LINES if ".whl" in line]
    assert wheels
    assert all(start in line for line in wheels)


def test_addresses_that_nobody_can_reach_yet_are_placeholders_and_said_to_be() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    placeholder = "https://git.example/OWNER/export-and-verify"
    assert set(urls) == {"Documentation", "Source", "Issues", "Changelog"}
    assert all(url.startswith(placeholder) for url in urls.values())
    page = (ROOT / "docs" / "ci.md").read_text()
    assert "`OWNER`, `git.example` and the tag `v0.1.0` on this page are placeholders" in page
    addresses = re.findall(r"https://\S*export-and-verify", page)
    assert addresses
    assert set(addresses) == {placeholder}
