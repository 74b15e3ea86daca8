"""Builds what a user installs, checks it, and runs it under every Python of this machine: make wheel.

One wheel serves every Python from 3.11, because the binding keeps to the limited API: it is repaired to the manylinux
tag that its symbols allow. The Python that builds it installs all dependencies and runs the demo. The others install
those of the reader and of `inspect`, because PyTorch is another download of gigabytes for each; they must read the
demo's files and compute the same logits, bit for bit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST, WORK = ROOT / "dist", ROOT / ".wheel-venv"
CONSTRAINTS = ("-c", str(ROOT / "constraints.txt"))
OLDEST = (3, 11)

# Without a tree of sources on Python's path, and with patchelf on the system's, where auditwheel looks for it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
    "PATH": os.pathsep.join((str(Path(sys.prefix) / "bin"), *os.get_exec_path()))
}

# All that reader_c and `export-and-verify inspect` import.
OF_THE_READER = ("blake3", "cffi", "jinja2", "numpy", "rich", "rich-click")

DESCRIBE = """
import sys, sysconfig, ensurepip, venv
assert sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
print(*sys.version_info[:2], sys.prefix == sys.base_prefix)
"""

# the single header comes with the package
HEADER = """
import importlib.resources
assert importlib.resources.files("reader_c").joinpath("export_and_verify.h").is_file()
"""

READ = """
import hashlib, platform, sys
import reader_c
for path in sys.argv[1:]:
    with reader_c.open(path) as model:
        ways = [{"arithmetic": "mirror"}, {}] + [{"activations": "q8"}] * bool(model.config.group_size)
        logits = [model.forward([1, 306, 458], **way).tobytes() for way in ways]
        print(path.rpartition("/")[2], hashlib.sha256(b"".join(logits)).hexdigest())
"""


def main() -> None:
    """Build, check, install and run; end with the failed command's status."""
    for stale in (ROOT / "build", DIST, WORK):
        shutil.rmtree(stale, ignore_errors=True)
    wheel = build()
    own = WORK / "own"
    install(Path(sys.executable), own, str(wheel))
    run(own / "bin/python", "-c", HEADER, cwd=own)
    run(own / "bin/export-and-verify", "demo", "--out", own / "demo", cwd=own)
    files = sorted((own / "demo").glob("*.bin"))
    expected = read(own, files)
    for version, python in pythons().items():
        other = WORK / f"python{version}"
        install(python, other, *OF_THE_READER)
        run(other / "bin/pip", "install", "-q", "--no-deps", wheel)
        found = read(other, files)
        if found != expected:
            sys.exit(f"error: Python {version}: expected the logits of {sys.executable}, found others:\n{found}")
        run(other / "bin/export-and-verify", "inspect", files[-1], cwd=other, quiet=True)
        print(f"Python {version}: installed {wheel.name}; same logits of {len(files)} files", flush=True)
    shutil.rmtree(WORK)


def build() -> Path:
    """Return the repaired wheel, which is built from the sdist, so that the sdist is complete, too."""
    run(tool("python"), "-m", "build", "--outdir", DIST, ROOT, quiet=True)
    (linux,) = DIST.glob("*.whl")
    run(tool("auditwheel"), "repair", "--wheel-dir", DIST, linux, quiet=True)
    linux.unlink()
    (wheel,) = DIST.glob("*-cp311-abi3-manylinux_*.whl")
    run(tool("abi3audit"), "--strict", wheel)
    run(tool("twine"), "check", "--strict", *DIST.iterdir())
    print(f"built {wheel.name}", flush=True)
    return wheel


def install(python: Path, directory: Path, *arguments: str) -> None:
    run(python, "-m", "venv", directory)
    run(directory / "bin/pip", "install", "-q", *CONSTRAINTS, *arguments)


def read(environment: Path, files: list[Path]) -> str:
    """Return a line for each file with the digest of its logits, as the installed reader computes them."""
    command = [environment / "bin/python", "-c", READ, *files]
    ran = subprocess.run(command, check=True, cwd=environment, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    return ran.stdout


def pythons() -> dict[str, Path]:
    """Return every other CPython of this machine that the wheel is for, by version."""
    home = Path.home()
    places = [Path(place) for place in os.get_exec_path()]
    places += [*home.glob(".pyenv/versions/*/bin"), *home.glob(".local/share/uv/python/*/bin")]
    found: dict[str, Path] = {}
    for python in sorted(path for place in places for path in place.glob("python3.[0-9]*")):
        if not python.name.removeprefix("python3.").isdigit():
            continue
        asked = subprocess.run([python, "-c", DESCRIBE], check=False, capture_output=True, text=True)
        # a shim without a version behind it, or a Python without venv
        if asked.returncode:
            continue
        major, minor, whole = asked.stdout.split()
        version = (int(major), int(minor))
        if version >= OLDEST and version != sys.version_info[:2] and whole == "True":
            found.setdefault(f"{major}.{minor}", python)
    return found


def tool(name: str) -> Path:
    return Path(sys.prefix) / "bin" / name


def run(*command: object, cwd: Path | None = None, quiet: bool = False) -> None:
    """Run a command; where it fails, print what a quiet one said, and end with its status."""
    words = [str(word) for word in command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if quiet else {}
    ran = subprocess.run(words, check=False, cwd=cwd, env=ENVIRONMENT, text=True, **pipes)
    if ran.returncode:
        print(ran.stdout or "", end="", file=sys.stderr)
        sys.exit(f"error: {' '.join(words)}: exit status {ran.returncode}")


if __name__ == "__main__":
    main()
