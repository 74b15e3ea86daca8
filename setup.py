"""Only what pyproject.toml cannot say: the cffi module to compile, and the pages of docs/ for the wheel."""

from pathlib import Path
from shutil import copy

from setuptools import setup
from setuptools.command.build_py import build_py

DOCS = Path(__file__).parent / "docs"


class WithPages(build_py):
    """Copies the documentation beside the module that prints it: `export-and-verify docs`."""

    def run(self) -> None:
        super().run()
        # an editable install reads docs/ itself
        if not self.editable_mode:
            pages = Path(self.build_lib) / "verify" / "cli" / "pages"
            pages.mkdir(parents=True, exist_ok=True)
            for page in DOCS.glob("*.md"):
                copy(page, pages)


setup(cffi_modules=["reader_c/build.py:ffibuilder"], cmdclass={"build_py": WithPages})
