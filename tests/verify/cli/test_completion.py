"""Completion, driven in the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import run

pytestmark = pytest.mark.slow

# line -> what a shell must offer, and what not
CASES = {
    "export-and-verify rel": ({"release"}, {"verify"}),
    "export-and-verify export m.pt m.bin --format v1": ({"v1", "v1-fp32"}, {"v2"}),
    "export-and-verify verify m.pt m.bin --dep": ({"--depth"}, {"--report"}),
    "export-and-verify verify m.pt m.bin --depth ": ({"quick", "standard", "full"}, set()),
    "export-and-verify completion ": ({"bash", "zsh", "fish"}, set()),
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The program's name leads to this checkout."""
    program = tmp_path / "bin" / "export-and-verify"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m verify "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join(sys.path)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": path, "HOME": str(tmp_path)}


def offered(shell: str, script: str, environment: dict[str, str]) -> set[str]:
    command = [shell, "--norc", "-c", script] if shell == "bash" else [shell, "-c", script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return {line.split("\t")[0] for line in result.stdout.split("\n") if line}


@pytest.mark.parametrize("line", CASES)
def test_bash_offers_commands_options_and_choices(line: str, environment: dict[str, str]) -> None:
    """As readline calls it: through the function that `complete` was given."""
    words = line.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    script = f"""
eval "$(export-and-verify completion bash)"
complete -p export-and-verify >&2 || exit 9
COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}
_export_and_verify_completion export-and-verify
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    wanted, unwanted = CASES[line]
    found = offered("bash", script, environment)
    assert wanted <= found
    assert not unwanted & found


def test_bash_completes_paths_by_itself(environment: dict[str, str]) -> None:
    """For a path the script tells bash to complete files and directories in its own way."""
    script = """
eval "$(export-and-verify completion bash)"
COMP_WORDS=(export-and-verify inspect ''); COMP_CWORD=2
_export_and_verify_completion export-and-verify 2>/dev/null
_EXPORT_AND_VERIFY_COMPLETE=bash_complete COMP_WORDS='export-and-verify inspect ' COMP_CWORD=2 export-and-verify
"""
    assert "file," in offered("bash", script, environment)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize("line", CASES)
def test_fish_offers_commands_options_and_choices(line: str, environment: dict[str, str]) -> None:
    script = f"export-and-verify completion fish | source; complete -C '{line}'"
    wanted, unwanted = CASES[line]
    found = offered("fish", script, environment)
    assert wanted <= found
    assert not unwanted & found


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize("line", CASES)
def test_zsh_offers_commands_options_and_choices(line: str, environment: dict[str, str]) -> None:
    """The function that compdef registers; what it hands to zsh's own _describe and compadd is printed instead."""
    words = line.split(" ")
    script = f"""
autoload -U compinit; compinit -u -d "$HOME/dump"
eval "$(export-and-verify completion zsh)"
[[ -n ${{_comps[export-and-verify]}} ]] || exit 9
_describe() {{ for one in "${{(@P)3}}"; do print -r -- "${{one%%:*}}"; done }}
compadd() {{ local name=$argv[-1]; for one in "${{(@P)name}}"; do print -r -- $one; done }}
words=({" ".join(f"'{word}'" for word in words)}); CURRENT={len(words)}
_export_and_verify_completion
"""
    wanted, unwanted = CASES[line]
    found = offered("zsh", script, environment)
    assert wanted <= found
    assert not unwanted & found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_click_s_own_for_this_program(shell: str) -> None:
    result = run("completion", shell)
    assert result.returncode == 0
    assert f"_EXPORT_AND_VERIFY_COMPLETE={shell}_complete" in result.stdout
