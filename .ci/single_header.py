"""Write dist/export_and_verify.h: the C reader in one file, made of reader_c/src.

    python .ci/single_header.py [OUT]

The interface comes first. Behind EXPORT_AND_VERIFY_IMPLEMENTATION stand the reader's own files, from the bottom up.
Each is a translation unit of its own, so this script puts the file's name before each name that only one of them has,
and makes each function static that only the reader calls.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SRC = ROOT / "reader_c" / "src"

# Left out: the same sums for other instruction sets. The compiler vectorizes the plain form.
_OTHER_PATHS = ("fast_avx2.c", "fast_avx512.c", "fast_neon.c")
# Parts of one file, which come where that file includes them.
_PARTS = re.compile(r"vectors_scalar\.h|fast_body\w*\.h|unicode_tables\.h")
_INCLUDE = re.compile(r'^#include "(.+)"\n', re.MULTILINE)
# The files that an option leaves out. v3_fields is of the tokenizer block, too.
_LEFT_OUT = {
    "RC_NO_V0_TO_V2": ("layout", "ajc1"),
    "RC_NO_V3": ("v3_config", "v3_architecture", "v3_name", "v3_table", "v3_metadata", "v3_head", "experts"),
    "RC_NO_DIGESTS": ("blake3", "digests"),
    "RC_NO_MMAP": ("file",),
    "RC_NO_FAST": ("fast_rope", "fast_scalar", "fast_products", "fast_attention"),
    "RC_NO_TOKENIZER": (
        *("pieces", "merges", "encode", "decode", "unicode", "normalize", "piece_table", "merge_run", "words"),
        *("scanner", "matcher", "block_encode", "block_decode", "block_head", "score_ranks", "block_parse"),
        "tokenizer",
    ),
}
_GUARDS = {stem: option for option, stems in _LEFT_OUT.items() for stem in stems}

_WORD = re.compile(
    r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|/\*.*?\*/|(?:\.|->)\s*[A-Za-z_]\w*|\b[A-Za-z_]\w*', re.DOTALL
)
# Names of file scope: functions, types, constants, macros and arrays.
_NAMES = (
    re.compile(
        r"^(?:RC_CLONES\(.*?\) |__attribute__\(\(.*?\)\) )?(?:static|INLINE)\b[\w \*]*?\b(\w+)\(", re.MULTILINE
    ),
    re.compile(r"^static const [\w \*]*?\b(\w+)(?:\[\w*\])* =", re.MULTILINE),
    re.compile(r"^\} (\w+)(?:\[\w*\])*(?:;| =)", re.MULTILINE),
    re.compile(r"^(?:typedef )?(?:struct|enum) (\w+)", re.MULTILINE),
    re.compile(r"^typedef [\w ]+?\(\*(\w+)\)", re.MULTILINE),
    re.compile(r"^typedef [\w ]+ (\w+)(?: __attribute__.*)?;", re.MULTILINE),
    re.compile(r"^#define (\w+)", re.MULTILINE),
)
_ENUM = re.compile(r"^(?:typedef )?enum(?: \w+)? \{(.*?)\}", re.MULTILINE | re.DOTALL)
# A struct's body, and what follows the name of a member there.
_STRUCT = re.compile(r"\bstruct(?: \w+)? \{.*?\}", re.DOTALL)
_MEMBER = re.compile(r"\s*(?:\[|;|,|\)\()")
_ATOMICS = """#ifdef __cplusplus
#include <atomic>
using std::atomic_int;
using std::memory_order_acq_rel;
using std::memory_order_acquire;
using std::memory_order_relaxed;
#else
#include <stdatomic.h>
#endif
"""
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_PROTOTYPE = re.compile(r"^(?=(?!static|typedef|extern)[a-z]\w*[\w \*]*[ \*]rc_\w+\()", re.MULTILINE)
_DECLARED = re.compile(r"^RC_LOCAL [^;{=]*\brc_\w+\([^;{]*\);\n", re.MULTILINE)
_ALLOCATION = re.compile(r"\b(malloc|calloc|realloc|free)\(")
# Where C makes a pointer of any type from void *, and C++ has to be asked.
_FROM_VOID = re.compile(
    r"(?<!\(void\))(?<!\w)(?=(?:malloc|calloc|realloc|aligned_alloc|bsearch|memchr|place)\((?!arena))"
    r"|\*\w+ = (?=(?:a|b|own|work|room|room->memory)[,;])"
)


def _built() -> dict[str, tuple[str, ...]]:
    """Return the lists of reader_c/build.py without its imports: this script needs nothing but Python."""
    lines = ast.parse((ROOT / "reader_c" / "build.py").read_text(encoding="utf-8")).body
    values = {ast.unparse(line.targets[0]): line.value for line in lines if isinstance(line, ast.Assign)}
    return {name: ast.literal_eval(values[name]) for name in ("INTERFACE", "SOURCES")}


def _read(name: str) -> str:
    return (SRC / name).read_text(encoding="utf-8")


def _without_guard(name: str) -> str:
    """Return a header without the lines that protect it from a second inclusion, and without cffi's marks."""
    text = re.sub(r"#ifndef (EXPORT_AND_VERIFY_\w+)\n#define \1\n+", "", _read(name), count=1)
    text = text.rstrip().removesuffix("#endif").rstrip() + "\n"
    return re.sub(r"/\* --- cffi \w+ here --- \*/\n", "", text)


def _with_parts(text: str) -> str:
    """Put a file's parts where it includes them, once each."""
    put: set[str] = set()

    def part(match: re.Match[str]) -> str:
        if not _PARTS.fullmatch(match[1]):
            return match[0]
        if match[1] in put:
            return ""
        put.add(match[1])
        return _INCLUDE.sub(part, _without_guard(match[1]))

    return _INCLUDE.sub(part, text)


def _own_names(text: str) -> set[str]:
    """Return the names that a file defines for itself alone."""
    bare = _COMMENT.sub("", text)
    names = {match[1] for pattern in _NAMES for match in pattern.finditer(bare)}
    for body in _ENUM.findall(bare):
        names |= set(re.findall(r"^\s*(\w+)", "\n".join(body.split(",")), re.MULTILINE))
    return {name for name in names if not name.lower().startswith(("rc_", "_")) and not name.isdigit()}


def _renamed(name: str, text: str) -> str:
    """Put a file's name before each name of its own. Members of structs keep theirs, where they are declared too."""
    own, prefix = _own_names(text), f"rc_{Path(name).stem}_c_"
    bodies = [match.span() for match in _STRUCT.finditer(text)]

    def named(word: re.Match[str]) -> str:
        is_member = _MEMBER.match(text, word.end()) and any(a < word.start() < b for a, b in bodies)
        return word[0] if word[0] not in own or is_member else prefix + word[0]

    return _WORD.sub(named, text)


def _unit(name: str, shown: set[str]) -> str:
    """Return a file of the reader, after the headers that it is the first to include."""
    text = _with_parts(_read(name))
    before = "".join(_header(header, shown) for header in _INCLUDE.findall(text))
    text = re.sub(r"^#define _\w+(?: \w+)?\n", "", text, flags=re.MULTILINE)
    # in C, the table has been declared in another file
    text = text.replace("const rc_fast RC_FAST_TABLE", "static const rc_fast RC_FAST_TABLE")
    text = _renamed(name, _FROM_VOID.sub(r"\g<0>RC_FROM ", _INCLUDE.sub("", text)))
    if Path(name).stem in _LEFT_OUT["RC_NO_TOKENIZER"]:
        text = _ALLOCATION.sub(lambda match: f"RC_{match[1].upper()}(", text)
    return before + _guarded(name, f"/* ==== {name} ==== */\n{text.strip()}\n\n")


def _header(name: str, shown: set[str]) -> str:
    if name in shown:
        return ""
    shown.add(name)
    text = _without_guard(name)
    before = "".join(_header(header, shown) for header in _INCLUDE.findall(text))
    text = re.sub(r"^/\*[^/]*?Each in the file of its name.*?\*/\n|^extern .*;\n", "", text, flags=re.MULTILINE)
    text = _PROTOTYPE.sub("RC_LOCAL ", _INCLUDE.sub("", text))
    if guard := _GUARDS.get(Path(name).stem):
        # types are everybody's; functions are declared where they are defined
        text = _DECLARED.sub(rf"#ifndef {guard}\n\g<0>#endif\n", text).replace(f"#endif\n#ifndef {guard}\n", "")
    return before + f"/* ==== {name} ==== */\n{text.strip()}\n\n"


def _guarded(name: str, text: str) -> str:
    guard = _GUARDS.get(Path(name).stem)
    return f"#ifndef {guard}\n{text.rstrip()}\n#endif\n\n" if guard else text


def _interface(headers: tuple[str, ...]) -> str:
    """Return the public headers, with RC_API before each function."""
    parts = []
    for name in headers:
        text = _PROTOTYPE.sub("RC_API ", _INCLUDE.sub("", _without_guard(name)))
        parts.append(_guarded(name, f"/* ==== {name} ==== */\n{text.strip()}\n\n"))
    return "".join(parts)


def _license() -> str:
    lines = (ROOT / "LICENSE").read_text(encoding="utf-8").strip().splitlines()
    return "/*\n" + "".join(f" * {line}".rstrip() + "\n" for line in lines) + " */\n"


def single_header() -> str:
    """Return the whole file."""
    built = _built()
    shown = set(built["INTERFACE"])
    units = "".join(_unit(name, shown) for name in built["SOURCES"] if name not in _OTHER_PATHS)
    units = units.replace("#include <stdatomic.h>\n", _ATOMICS).replace("_Alignas(", "RC_ALIGNAS(")
    frame = (Path(__file__).parent / "single_header.h").read_text(encoding="utf-8")
    parts = {"INTERFACE": _interface(built["INTERFACE"]), "IMPLEMENTATION": units, "LICENSE": _license()}
    for name, text in parts.items():
        frame = frame.replace(f"@{name}@\n", text)
    return frame


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "export_and_verify.h"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(single_header(), encoding="utf-8")


if __name__ == "__main__":
    main()
