"""Would the tests notice a mistake in the parsers of the C reader, or in its tokenizers? Each check is taken out in
turn, each number moved by one, each comparison turned; a test has to fail.

    make mutants                    an hour and a half of one core, shared out to all

Mutants that change nothing that can be seen are told in unseen.py, each with the reason, and not tried. What nothing
noticed is kept in .mutants/: once a test was added, --again tries that alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from queue import SimpleQueue

from helpers.refused import KEPT
from record import Row, finish, options
from rich.progress import Progress
from unseen import UNSEEN

from reader_c.build import SOURCE_DIR, SOURCES, STRICT_FLAGS

ROOT = Path(__file__).parents[2]
ALIVE = ROOT / ".mutants"
_V3 = ("v3_parse", "v3_metadata", "boundaries", "model", "limits", "forward", "refused_calls")
_BLOCK = ("tokenizer_block", "tokenizer_families", "model_tokenizer", "refused_calls")
# by the file that is changed: those first that notice most
TESTS = {
    "shape.c": ("parse", "boundaries", "v3_parse", "model", "forward"),
    "ajc1.c": ("ajc1",),
    "layout.c": ("parse", "boundaries", "v3_parse", "model", "forward", "refused_calls"),
    "v3_fields.c": _V3,
    "v3_config.c": _V3,
    "v3_architecture.c": ("v3_architecture", *_V3),
    "v3_name.c": ("v3_architecture", *_V3),
    "v3_table.c": ("v3_architecture", *_V3),
    "v3_metadata.c": _V3,
    "v3_head.c": _V3,
    "parse.c": ("parse", "boundaries", "v3_parse", "model", "limits", "forward", "refused_calls"),
    "file.c": ("parse", "refused_calls", "changing_files", "v3_parse", "model", "limits"),
    "pieces.c": ("tokenizer", "generation", "refused_calls"),
    "merges.c": ("tokenizer", "tokenizer_families", "refused_calls"),
    "encode.c": ("tokenizer", "generation", "refused_calls"),
    "decode.c": ("tokenizer", "generation"),
    "unicode.c": ("tokenizer_block", "tokenizer_families", "unicode"),
    "normalize.c": ("tokenizer_block", "tokenizer_families", "unicode", "refused_calls"),
    "piece_table.c": _BLOCK,
    "merge_run.c": _BLOCK,
    "words.c": _BLOCK,
    "scanner.c": ("tokenizer_families", "tokenizer_block"),
    "matcher.c": _BLOCK,
    "block_encode.c": _BLOCK,
    "block_decode.c": ("tokenizer_block", "tokenizer_families", "model_tokenizer"),
    "block_head.c": _BLOCK,
    "score_ranks.c": _BLOCK,
    "block_parse.c": _BLOCK,
    "tokenizer.c": ("tokenizer", "tokenizer_block", "model_tokenizer", "refused_calls"),
    "sample.c": ("sampler", "generation"),
}
PARSER = tuple(TESTS)
FLAGS = (*(flag for flag in STRICT_FLAGS if flag != "-O3"), "-O1", "-fPIC", "-w", f"-I{SOURCE_DIR}")
# of a processor, however busy the machine is; and on the clock, for what waits for ever
CPU_SECONDS, SECONDS = 300, 1800


@dataclass(frozen=True)
class Mutant:
    kind: str
    file: str
    start: int
    end: int
    new: str

    def apply(self, text: str) -> str:
        return text[: self.start] + self.new + text[self.end :]

    def line(self, text: str) -> str:
        begin = text.rfind("\n", 0, self.start) + 1
        return text[begin : text.find("\n", self.start)].strip()

    def makes_no_difference(self, text: str) -> bool:
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


class Workshop:
    """One place to build and test a mutant in."""

    def __init__(self, room: Path, number: int, objects: Path) -> None:
        self._place = room / f"workshop{number}"
        self._objects = objects
        package = self._place / "reader_c"
        shutil.copytree(ROOT / "reader_c", package, ignore=shutil.ignore_patterns("_reader*", "__pycache__"))
        self._source = package / "src"
        self._library = package / "_reader.abi3.so"

    def build(self, file: str | None, source: str) -> bool:
        """False where the compiler refuses. file: what is replaced; None for the reader as it is."""
        parts = [path for path in self._objects.glob("*.o") if path.stem != Path(file or "").stem]
        if file:
            mutant = self._source / file  # where a test that compiles the reader finds it too
            mutant.write_text(source, encoding="utf-8")
            made = self._place / "mutant.o"
            if subprocess.run(["gcc", *FLAGS, "-c", mutant, "-o", made], capture_output=True, check=False).returncode:
                return False
            parts.append(made)
        subprocess.run(["gcc", "-shared", *parts, "-o", self._library, "-lm", "-lpthread"], check=True)
        return True

    def killed(self, file: str) -> str:
        """What noticed: a test's name, "a crash" or "a hang"; empty where nothing did."""
        names = [f"tests/reader_c/test_{name}.py" for name in TESTS[file]]
        environment = {
            **os.environ,
            "PYTHONPATH": f"{self._place}{os.pathsep}{ROOT}",
            "OMP_NUM_THREADS": "1",
            "HYPOTHESIS_PROFILE": "dev",
            KEPT: str(self._objects.parent),
        }
        # not "python -m pytest", which would look here first and find the reader as it is
        command: list[str | Path] = [
            "prlimit",
            f"--cpu={CPU_SECONDS}",
            Path(sys.executable).with_name("pytest"),
            "-q",
            "-x",
            "--no-header",
            "-p",
            "no:cacheprovider",
        ]
        command += ["-p", "no:randomly", f"--basetemp={self._place / 'tmp'}", *names]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return "a hang"
        if done.returncode == 0:
            return ""
        test = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, flags=re.MULTILINE)
        return test[1] if test else "a crash"


def compile_objects(room: Path) -> Path:
    """The whole reader's object files, cffi's glue among them, as the mutants are compiled."""
    from reader_c.build import ffibuilder  # paths in it are relative to the working directory

    objects = room / "objects"
    objects.mkdir()
    glue = room / "_reader.c"
    ffibuilder.emit_c_code(str(glue))
    import sysconfig

    headers = f"-I{sysconfig.get_paths()['include']}"
    for source in (glue, *(SOURCE_DIR / name for name in SOURCES)):
        level = FLAGS if source.name in (*PARSER, glue.name) else (*FLAGS, "-O2")
        subprocess.run(["gcc", *level, headers, "-c", source, "-o", objects / f"{source.stem}.o"], check=True)
    return objects


def untried(file: str, text: str) -> tuple[list[Mutant], float]:
    """Those of this very text that nothing noticed when it was last tried, and the seconds that all has taken."""
    kept = json.loads((ALIVE / f"{file}.json").read_text(encoding="utf-8"))
    if kept["of"] != hashlib.sha256(text.encode()).hexdigest():
        sys.exit(f"{file}: expected what was tried, found another; without --again, all is tried")
    return [Mutant(*fields) for fields in kept["alive"]], kept["seconds"]


def keep(file: str, text: str, alive: list[Mutant], seconds: float) -> None:
    ALIVE.mkdir(exist_ok=True)
    of = hashlib.sha256(text.encode()).hexdigest()
    kept = {"of": of, "alive": [astuple(mutant) for mutant in alive], "seconds": seconds}
    (ALIVE / f"{file}.json").write_text(json.dumps(kept), encoding="utf-8")


def try_all(file: str, text: str, chosen: list[Mutant]) -> dict[Mutant, str]:
    """What became of each; told as it is known, where nothing noticed."""
    fates: dict[Mutant, str] = {}
    with tempfile.TemporaryDirectory() as directory, Progress() as progress:
        room = Path(directory)
        objects = compile_objects(room)
        workshops: SimpleQueue[Workshop] = SimpleQueue()
        for number in range(os.cpu_count() or 1):
            workshops.put(Workshop(room, number, objects))
        healthy = workshops.get()
        healthy.build(None, "")
        if noticed := healthy.killed(file):
            sys.exit(f"the tests fail on the reader as it is: {noticed}")
        workshops.put(healthy)
        task = progress.add_task(f"mutants of {file}", total=len(chosen))

        def fate(mutant: Mutant) -> None:
            workshop = workshops.get()
            fates[mutant] = workshop.killed(file) if workshop.build(file, mutant.apply(text)) else "the compiler"
            workshops.put(workshop)
            progress.update(task, advance=1)
            if not fates[mutant]:
                print(mutant.told(text), flush=True)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(fate, chosen))
    return fates


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("file", choices=PARSER)
    parser.add_argument("--again", action="store_true", help="only what nothing noticed the last time")
    parser.add_argument("--kind", action="append", help="only this kind of mutant; may be given often")
    given = parser.parse_args()
    began = time.monotonic()
    text = (SOURCE_DIR / given.file).read_text(encoding="utf-8")
    many = [mutant for mutant in mutants(given.file, text) if not given.kind or mutant.kind in given.kind]
    unseen = {mutant for mutant in many if mutant.makes_no_difference(text)}
    last, seconds = untried(given.file, text) if given.again else (many, 0.0)
    began -= seconds
    fates = try_all(given.file, text, [mutant for mutant in last if mutant in many and mutant not in unseen])
    alive = [mutant for mutant, noticed in fates.items() if not noticed]
    keep(given.file, text, alive, time.monotonic() - began)
    rows = []
    for kind in dict.fromkeys(mutant.kind for mutant in many):
        own = [mutant for mutant in many if mutant.kind == kind]
        same = len(unseen.intersection(own))
        others = len(set(alive).intersection(own))
        told = f"{len(own) - same - others} noticed, {same} make no difference, {others} others"
        rows.append(Row(kind, len(own), told, others))
    finish(f"mutants of {given.file}", rows, began, trial=given.trial)


if __name__ == "__main__":
    main()
