"""The mutants of a source of the C reader: checks taken out, comparisons turned, numbers moved by one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from unseen import UNSEEN


@dataclass(frozen=True)
class Mutant:
    """One mistake in one file: what stands from start to end becomes new."""

    kind: str
    file: str
    start: int
    end: int
    new: str

    @property
    def key(self) -> str:
        return f"{self.start}:{self.end}:{self.new}"

    def apply(self, text: str) -> str:
        return text[: self.start] + self.new + text[self.end :]

    def line(self, text: str) -> str:
        begin = text.rfind("\n", 0, self.start) + 1
        return text[begin : text.find("\n", self.start)].strip()

    def makes_no_difference(self, text: str) -> bool:
        """Whether it is listed as one that changes nothing that can be seen."""
        as_it_becomes = self.line(self.apply(text))
        return (self.file, self.line(text), self.new) in UNSEEN or (self.file, as_it_becomes, "") in UNSEEN

    def told(self, text: str) -> str:
        number = text.count("\n", 0, self.start) + 1
        old = " ".join(text[self.start : self.end].split())
        return f"{self.file}:{number}: {old} -> {self.new or 'nothing'}   | {self.line(text)}"


def _blank(text: str) -> str:
    """The same length, with comments, strings and directives blanked: what stands in them is not code."""
    pattern = r"/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|^#(?:[^\n\\]|\\\n|\\.)*"
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", "_", m[0]), text, flags=re.DOTALL | re.MULTILINE)


_TURNED = {
    "<": ("<=",),
    "<=": ("<",),
    ">": (">=",),
    ">=": (">",),
    "==": ("!=",),
    "!=": ("==",),
    "&&": ("||",),
    "||": ("&&",),
}
_OTHER = {"+": "-", "-": "+", "*": "+", "/": "*", "%": "*"}


def _statement_end(code: str, start: int) -> int:
    return code.index(";", start) + 1


def mutants(file: str, text: str) -> Iterator[Mutant]:
    code = _blank(text)
    for found in re.finditer(r"return (?:rc_)?fail\w*\(", code):
        if code[: found.start()].rstrip().endswith("{"):
            continue  # a function's own body
        yield Mutant("a check taken out", file, found.start(), _statement_end(code, found.start()), ";")
    for found in re.finditer(r"\bRC_TRY\(", code):
        yield Mutant("a check's answer ignored", file, found.start(), found.end(), "(void)(")
    for found in re.finditer(r"(?<= )(<=|>=|==|!=|&&|\|\||<|>)(?= )", code):
        for new in _TURNED[found[0]]:
            yield Mutant("a comparison turned", file, found.start(), found.end(), new)
    for found in re.finditer(r"(?<=[\w)\]] )([-+*/%])(?= [\w(])", code):
        if code[found.start() - 2] == "t" and re.search(
            r"\b(?:const|struct|char|void|\w+_t|\w+_function) $", code[: found.start()]
        ):
            continue  # a pointer's star
        yield Mutant("a sum or product turned", file, found.start(), found.end(), _OTHER[found[0]])
    # but for an offset of -1 after a field's name, which is none as any below 0 is
    for found in re.finditer(r"(?<![\w.])(?<!_, -)(?:0x[0-9a-f]+|\d+)(?![\w.])", code):
        yield Mutant("a number moved by one", file, found.start(), found.end(), str(int(found[0], 0) + 1))
