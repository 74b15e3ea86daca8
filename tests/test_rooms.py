"""The floor plan that `make rooms` prints is that of the checkout."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import rooms

SCRIPT = Path(rooms.__file__)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    files = {
        "exporter/__init__.py": "def one():\n    return 1\n",
        "reader_c/__init__.py": "def one():\n    return 1\n",
        "reader_c/src/a.h": "int one(void);\n",
        "reader_c/src/a.c": '#include <stdio.h>\n#include "a.h"\nint one(void) {\n  return 1;\n}\n',
        "verify/__init__.py": "from verify.top import all_of_it\n",
        "verify/top.py": "import torch\nfrom verify.middle import low\n\n\ndef all_of_it():\n    return low\n",
        "verify/middle/__init__.py": "",
        "verify/middle/low.py": "from verify.base import deep\n",
        "verify/base/__init__.py": "",
        "verify/base/deep.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def change(checkout: Path, name: str, text: str) -> rooms.Plan:
    (checkout / name).write_text(textwrap.dedent(text))
    return rooms.package(checkout, "verify")


def test_rooms_are_packages_and_loose_modules(checkout: Path) -> None:
    plan = rooms.package(checkout, "verify")
    assert plan.loose == ["verify", "verify.top"]
    assert plan.arrows == {
        "verify": {"verify.top"},
        "verify.top": {"verify.middle"},
        "verify.middle": {"verify.base"},
        "verify.base": set(),
    }
    assert rooms.floors(plan.arrows) == 4
    assert rooms.circles(plan.imports) == []
    assert plan.lines["verify/top.py"] == 6
    assert plan.functions == {"verify/top.py:all_of_it": 2}


@pytest.mark.parametrize(
    "text",
    [
        "import verify.top\n",
        "from verify.top import all_of_it\n",
        "from ..top import all_of_it\n",
        "from .. import top\n",
        "def later():\n    from verify import top\n",
        "if TYPE_CHECKING:\n    from verify.top import all_of_it\n",
    ],
)
def test_an_import_of_any_kind_closes_a_circle(checkout: Path, text: str) -> None:
    plan = change(checkout, "verify/base/deep.py", text)
    assert rooms.circles(plan.imports) == [["verify.base.deep", "verify.middle.low", "verify.top"]]
    # those of a circle share a floor
    assert rooms.floors(plan.arrows) == 2


def test_rooms_may_form_a_circle_where_their_modules_do_not(checkout: Path) -> None:
    (checkout / "verify/middle/other.py").write_text("")
    plan = change(checkout, "verify/base/deep.py", "import verify.middle.other\n")
    assert rooms.circles(plan.imports) == []
    assert rooms.circles(plan.arrows) == [["verify.base", "verify.middle"]]


def test_nested_functions_and_methods_have_their_own_lines(checkout: Path) -> None:
    text = """
        class Kind:
            @property
            def one(self):
                def inner():
                    return 1
                return inner
    """
    plan = change(checkout, "verify/base/deep.py", text)
    of_deep = {name: lines for name, lines in plan.functions.items() if "deep" in name}
    assert of_deep == {"verify/base/deep.py:Kind.one": 4, "verify/base/deep.py:Kind.one.inner": 2}


def test_functions_of_c_are_told_from_all_else_in_braces() -> None:
    text = textwrap.dedent(
        r"""
        #define LOOP(n) \
          for (int i = 0; i < (n); i++) {
        struct pair { int a, b; };
        static const int table[] = {1, 2};
        enum { FIRST = sizeof(int) };
        /* int none(void) { */
        static int of_callback(int (*call)(int), const char *text)
        {
          if (call('{')) { return text == "}"; }  // }
          return 0;
        }
        ATTRIBUTE(hot) void marked(void) { }
        """
    )
    assert list(rooms.c_functions(text)) == [("of_callback", 5), ("marked", 1)]


def test_unbalanced_braces_are_refused() -> None:
    with pytest.raises(ValueError, match="found 1 too few"):
        list(rooms.c_functions("int f(void) { if (1) { }"))


def test_an_include_is_an_import(checkout: Path) -> None:
    plan = rooms.c_sources(checkout)
    assert plan.imports == {"a.c": {"a.h"}, "a.h": set()}
    assert plan.functions == {"reader_c/src/a.c:one": 3}


def test_the_script_measures_the_directory_that_it_is_given(checkout: Path) -> None:
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run([*command, str(checkout)], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "verify: 4 rooms, 2 of them loose modules\n  imports between them: 3, floors: 4\n" in done.stdout
    done = subprocess.run([*command, str(checkout / "verify")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected a checkout with reader_c/src, found none" in done.stderr
