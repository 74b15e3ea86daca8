"""The mutants of a Python module, as cosmic-ray makes them."""

from __future__ import annotations

import ast
import pickle
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.plugins import get_operator, operator_names
from parso.tree import NodeOrLeaf

UNSEEN = Path(__file__).with_name("python_unseen.toml")

# Of cosmic-ray's 132 exchanges of two binary operators and 56 of two comparisons, those that look like a mistake.
_BINARY = {
    "Add": ("Sub",),
    "Sub": ("Add",),
    "Mul": ("Div", "Add"),
    "Div": ("Mul",),
    "FloorDiv": ("Div", "Mul"),
    "Mod": ("Mul",),
    "Pow": ("Mul",),
    "LShift": ("RShift",),
    "RShift": ("LShift",),
    "BitAnd": ("BitOr",),
    "BitOr": ("BitAnd",),
    "BitXor": ("BitAnd",),
}
_COMPARISON = {
    "Eq": ("NotEq",),
    "NotEq": ("Eq",),
    "Lt": ("LtE", "GtE"),
    "LtE": ("Lt", "Gt"),
    "Gt": ("GtE", "LtE"),
    "GtE": ("Gt", "Lt"),
    "Is": ("IsNot",),
    "IsNot": ("Is",),
}
_OTHERS = (
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "NumberReplacer", "RemoveDecorator"),
    *("ZeroIterationForLoop", "ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_Not"),
    "ReplaceUnaryOperator_Delete_Invert",
)
OPERATORS = (
    *(f"core/ReplaceBinaryOperator_{old}_{new}" for old, every in _BINARY.items() for new in every),
    *(f"core/ReplaceComparisonOperator_{old}_{new}" for old, every in _COMPARISON.items() for new in every),
    *(f"core/{name}" for name in _OTHERS),
)


@dataclass(frozen=True)
class Mutant:
    """One mistake in one module. lines: the numbers of the lines that it changes. code: the whole module with it."""

    module: str
    operator: str
    occurrence: int
    lines: frozenset[int]
    before: str
    after: str
    code: str

    @property
    def key(self) -> str:
        return f"{self.operator} {self.occurrence}"

    @cached_property
    def unseen(self) -> bool:
        """Whether it is listed as one that changes nothing that can be seen."""
        change = _packed(self.before), _packed(self.after)
        return not _unseen().isdisjoint({(self.module, *change), ("*", *change)})

    @property
    def told(self) -> str:
        return f"{self.module}:{min(self.lines)}: {self.before} -> {self.after}"


def mutants(module: str, text: str, among: set[int] | None = None) -> Iterator[Mutant]:
    """Yield every mutant once; those that change only an annotation or are no Python are none.

    among: only mutants that change one of these lines.
    """
    missing = set(OPERATORS) - set(operator_names())
    if missing:
        raise ValueError(f"cosmic-ray: expected operators {sorted(missing)}, found none of these names")
    statements = get_ast(text).children
    codes = [statement.get_code() for statement in statements]
    meanings = {(number, _meaning(code)) for number, code in enumerate(codes)}
    nodes = [(number, node) for number, statement in enumerate(statements) for node in ast_nodes(statement)]
    kept = [_pickled(statement) for statement in statements]
    for name in OPERATORS:
        operator = get_operator(name)()
        places = [(number, *place) for number, node in nodes for place in operator.mutation_positions(node)]
        earlier = Counter[int]()
        for occurrence, (number, start, end) in enumerate(places):
            lines, within = frozenset(range(start[0], end[0] + 1)), earlier[number]
            earlier[number] += 1
            if among is not None and not lines & among:
                continue
            # cosmic-ray's mutate_code() parses all of the text anew each time, which takes ten times as long
            changed = MutationVisitor(within, operator).walk(pickle.loads(kept[number])).get_code()
            meaning = number, _meaning(changed)
            if meaning[1] is None or meaning in meanings:
                continue
            meanings.add(meaning)
            code = "".join([*codes[:number], changed, *codes[number + 1 :]])
            before, after = _difference(text, code)
            yield Mutant(module, name.removeprefix("core/"), occurrence, lines, before, after, code)


def _pickled(statement: NodeOrLeaf) -> bytes:
    """Return a statement of a module by itself: its parent would bring the whole module along."""
    statement.parent = None
    return pickle.dumps(statement)


@cache
def _unseen() -> set[tuple[str, str, str]]:
    found = tomllib.loads(UNSEEN.read_text(encoding="utf-8"))["unseen"]
    return {(one["module"], _packed(one["line"]), _packed(other)) for one in found for other in one["becomes"]}


def _packed(line: str) -> str:
    """Without any spaces, of which cosmic-ray adds some."""
    return "".join(line.split())


def _meaning(code: str) -> str | None:
    """Return what a statement does, without annotations; None if it is no Python.

    How arguments may be passed does not count: cosmic-ray takes the star before keywords for a product.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arguments):
            node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
            node.defaults += [default for default in node.kw_defaults if default]
            node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def _difference(old: str, new: str) -> tuple[str, str]:
    """Return the lines that differ, without the space around them."""
    a, b = old.splitlines(), new.splitlines()
    first = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    last = next(i for i, (x, y) in enumerate(zip(reversed(a), reversed(b), strict=False)) if x != y)
    return tuple(" ".join(" ".join(side[first : len(side) - last]).split()) for side in (a, b))  # type: ignore[return-value]
