#!/usr/bin/env python3
"""Measures the floor plan of a checkout: rooms, imports between them, floors, circles, longest modules and functions.

Usage: rooms.py [DIRECTORY]. It measures this checkout by default; an older one, made with `git worktree add`, gives
the numbers of before. A room is a package directly in exporter, reader_c or verify, or a loose module there. In
reader_c/src each file is a room, and an include is an import. Needs only Python's standard library.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("exporter", "reader_c", "verify")
C_SOURCES = "reader_c/src"

Graph = dict[str, set[str]]


@dataclass(frozen=True)
class Plan:
    """One package, or the C sources.

    imports: module -> modules of the same package that it imports, lazily and for types too. rooms: module -> its
    room. loose: modules that lie beside the rooms; each is a room of its own. lines: file -> lines. functions:
    file:name -> lines, from its first line to its last.
    """

    name: str
    imports: Graph
    rooms: dict[str, str]
    loose: list[str]
    lines: dict[str, int]
    functions: dict[str, int]

    @property
    def arrows(self) -> Graph:
        """Room -> other rooms that its modules import."""
        arrows: Graph = {room: set() for room in self.rooms.values()}
        for module, imported in self.imports.items():
            arrows[self.rooms[module]] |= {self.rooms[other] for other in imported} - {self.rooms[module]}
        return arrows


def plans(root: Path) -> list[Plan]:
    return [*(package(root, name) for name in PACKAGES), c_sources(root)]


def package(root: Path, name: str) -> Plan:
    files = {module_name(path.relative_to(root)): path for path in sorted((root / name).rglob("*.py"))}
    packages = {module for module, path in files.items() if path.name == "__init__.py"}
    imports: Graph = {}
    rooms: dict[str, str] = {}
    lines: dict[str, int] = {}
    functions: dict[str, int] = {}
    for module, path in files.items():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        shown = str(path.relative_to(root))
        imports[module] = set(imported(tree, module, module in packages, files)) - {module}
        rooms[module] = ".".join(module.split(".")[:2])
        lines[shown] = text.count("\n")
        functions |= {f"{shown}:{function}": length for function, length in python_functions(tree)}
    # the package's own __init__ is a loose module too
    loose = [module for module, room in rooms.items() if room not in packages - {name}]
    return Plan(name, imports, rooms, loose, lines, functions)


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, module: str, is_package: bool, files: Mapping[str, Path]) -> Iterator[str]:
    """The modules that a tree imports, wherever it does so. The packages around an imported module, which Python
    imports as well, do not count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                around = module.split(".")[: len(module.split(".")) - node.level + is_package]
                origin = ".".join([*around, *([origin] if origin else [])])
            for alias in node.names:
                name = f"{origin}.{alias.name}"
                yield from [name] if name in files else [origin] if origin in files else []


def python_functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Name and lines of each function; decorators do not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, (node.end_lineno or node.lineno) - node.lineno + 1
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from python_functions(node, f"{prefix}{node.name}.")
        else:
            yield from python_functions(node, prefix)


def c_sources(root: Path) -> Plan:
    files = sorted(path for path in (root / C_SOURCES).iterdir() if path.suffix in (".c", ".h"))
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    imports = {
        name: set(re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.MULTILINE)) & texts.keys()
        for name, text in texts.items()
    }
    lines = {f"{C_SOURCES}/{name}": text.count("\n") for name, text in texts.items()}
    functions = {
        f"{C_SOURCES}/{name}:{function}": length
        for name, text in texts.items()
        for function, length in c_functions(text)
    }
    return Plan(C_SOURCES, imports, {name: name for name in texts}, list(texts), lines, functions)


_NO_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
# the name before the parenthesis that is closed last; parameters may have parentheses of their own
_NAME = re.compile(r"(\w+)\s*\((?:[^()]|\([^()]*\))*\)\s*$")
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)


def c_functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and lines of each function of C: what has a parenthesis before a brace at the outermost level."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    code = _DIRECTIVE.sub(blank, _NO_CODE.sub(blank, text))
    depth, start = 0, 0
    signature, first = "", 0
    for match in re.finditer(r"[{};]", code):
        if match[0] == "{":
            if depth == 0:
                signature = code[start : match.start()]
                first = start + len(signature) - len(signature.lstrip())
            depth += 1
        elif match[0] == "}":
            depth -= 1
            name = _NAME.search(signature)
            if depth == 0 and name and "=" not in signature:
                yield name[1], code.count("\n", first, match.start()) + 1
        if depth == 0:
            start = match.end()
    if depth:
        raise ValueError(f"expected as many closing braces as opening ones, found {depth} too few")


def circles(graph: Graph) -> list[list[str]]:
    """Groups of nodes each of which reaches all others."""
    reached = {node: _reached(graph, node) for node in graph}
    groups = {
        tuple(sorted(other for other in reached[node] if node in reached[other]))
        for node in graph
        if node in reached[node]
    }
    return [list(group) for group in sorted(groups)]


def _reached(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def floors(graph: Graph) -> int:
    """Nodes on the longest way down; those of a circle stand on one floor together."""
    together = {node: group[0] for group in circles(graph) for node in group}
    down: Graph = {}
    for node, below in graph.items():
        home = together.get(node, node)
        down.setdefault(home, set()).update({together.get(other, other) for other in below} - {home})
    height: dict[str, int] = {}

    def measure(node: str) -> int:
        if node not in height:
            height[node] = 1 + max((measure(other) for other in down[node]), default=0)
        return height[node]

    return max(map(measure, down), default=0)


def describe(plan: Plan) -> Iterator[str]:
    arrows = plan.arrows
    longest = max(plan.lines, key=plan.lines.__getitem__)
    function = max(plan.functions, key=plan.functions.__getitem__)
    yield f"{plan.name}: {len(arrows)} rooms, {len(plan.loose)} of them loose modules"
    yield f"  imports between them: {sum(map(len, arrows.values()))}, floors: {floors(arrows)}"
    yield f"  longest module: {plan.lines[longest]} lines, {longest}"
    yield f"  longest function: {plan.functions[function]} lines, {function}"
    for between, graph in (("modules", plan.imports), ("rooms", arrows)):
        found = circles(graph)
        yield f"  circles of {between}: {len(found)}"
        yield from (f"    {' <-> '.join(circle)}" for circle in found)


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(__doc__)
        return 0 if arguments[0] in ("-h", "--help") else 2
    root = Path(arguments[0]) if arguments else Path(__file__).parent.parent
    if not (root / C_SOURCES).is_dir():
        print(f"{root}: expected a checkout with {C_SOURCES}, found none", file=sys.stderr)
        return 2
    for plan in plans(root):
        print("\n".join(describe(plan)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
