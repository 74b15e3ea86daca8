"""Says what pyproject.toml cannot: what is compiled, for which Pythons, what the system must have for it, and that a
wheel carries the pages of docs/ and the reader in one header."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from shutil import copy

from setuptools import setup
from setuptools.command.build_py import build_py

DOCS = Path(__file__).parent / "docs"
SINGLE_HEADER = Path(__file__).parent / ".ci" / "single_header.py"


class WithPages(build_py):
    """Copies docs/ beside the module that prints it, `export-and-verify docs`, and makes the single header."""

    def run(self) -> None:
        super().run()
        # an editable install reads docs/ itself
        if not self.editable_mode:
            pages = Path(self.build_lib) / "verify" / "cli" / "pages"
            pages.mkdir(parents=True, exist_ok=True)
            for page in DOCS.glob("*.md"):
                copy(page, pages)
            header = Path(self.build_lib) / "reader_c" / "export_and_verify.h"
            subprocess.run([sys.executable, SINGLE_HEADER, header], check=True)


# The commands that compile; an sdist, or a list of what a build requires, does not.
COMPILING = {"bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"}

# cffi compiles against the limited API: one wheel for every Python from the oldest that pyproject.toml allows.
OPTIONS = {"bdist_wheel": {"py_limited_api": "cp311"}}


def require_compiler() -> None:
    """End with one line, before a build prints anything else, where something is missing. Use clang if gcc is."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc")[0]
    if shutil.which(compiler) is None and "CC" not in os.environ and shutil.which("clang"):
        os.environ |= {"CC": "clang", "LDSHARED": "clang -shared"}
    elif shutil.which(compiler) is None:
        sys.exit(
            f"error: C compiler: expected {compiler} to compile the reader, found none: install gcc or clang "
            "(Debian, Ubuntu: apt install gcc; Fedora: dnf install gcc), or install a wheel"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        sys.exit(
            f"error: Python's headers: expected {header} to compile the reader, found none: install them "
            "(Debian, Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel), or install a wheel"
        )


if COMPILING & set(sys.argv):
    require_compiler()
setup(cffi_modules=["reader_c/build.py:ffibuilder"], options=OPTIONS, cmdclass={"build_py": WithPages})
