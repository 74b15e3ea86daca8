"""One export in twenty surroundings, of every kind of source to every format: one digest each.

    make determinism                some five minutes

Processors, threads, hash seed, locale, time zone, umask, the order and times of the source's files differ. What the C
reader makes of each file is then asked of builds by gcc and by clang.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import huggingface, meta
from helpers.checkpoints import save, state_dict
from helpers.models import arrays, config
from helpers.surroundings import digests, twenty
from record import Row, finish, options
from rich.progress import Progress

ROOT = Path(__file__).parents[2]
FORMATS = {
    "v0": (),
    "v1": (),
    "v1-fp32": (),
    "v2": (),
    "v3": ("--storage", "q8_0"),
    "hf": (),
}
_LOGITS = """
import hashlib, sys
import numpy as np
import reader_c
with reader_c.open(sys.argv[1]) as model:
    tokens = np.arange(model.config.max_seq_len) % model.config.vocab_size
    kinds = ("fp32", "q8") if model.config.group_size else ("fp32",)
    made = [
        model.forward(tokens, activations=kind, **how).tobytes()
        for kind in kinds
        for how in ({"arithmetic": "mirror"}, *({"path": path} for path in reader_c.paths()))
    ]
print(hashlib.sha256(b"".join(made)).hexdigest())
"""


def sources(room: Path) -> dict[str, Path]:
    sharded = room / "sharded"
    huggingface.save(sharded, huggingface.model(head_dim=8, rms_norm_eps=1e-5), max_shard_size="20KB")
    of_meta = meta.save(room / "meta", meta.shards(arrays(config()), 1), meta.params(config()))
    return {"llama2.c": save(room, state_dict()), "Hugging Face, sharded": sharded, "Meta": of_meta}


def build(room: Path, compiler: str, level: str) -> Path:
    """A copy of the reader by this compiler; the directory to import it from."""
    place = room / f"{compiler}{level}"
    environment = {**os.environ, "CC": compiler, "LDSHARED": f"{compiler} -shared", "RC_EXTRA_CFLAGS": level}
    command = ["setup.py", "-q", "build", "--build-base", place / "build", "--build-lib", place / "lib"]
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT, env=environment, capture_output=True)
    return place / "lib"


def logits(library: Path, path: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(library)}
    command = [sys.executable, "-P", "-c", _LOGITS, path]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def main() -> None:
    given = options(__doc__).parse_args()
    began = time.monotonic()
    rows = []
    with tempfile.TemporaryDirectory() as directory, Progress() as progress:
        room, place = Path(directory), Path(directory) / "room"
        place.mkdir()
        many = sources(room)
        task = progress.add_task("exports", total=len(many) * len(FORMATS) * len(twenty()))
        libraries = {f"{c} {level}": build(room, c, level) for c in ("gcc", "clang") for level in ("-O1", "-O3")}
        built = dict.fromkeys(libraries, 0)
        for kind, source in many.items():
            for format_name, chosen in FORMATS.items():
                found = []
                for surroundings, digest in digests(source, place, twenty(), "--format", format_name, *chosen):
                    found.append(digest)
                    progress.update(task, advance=1, description=str(surroundings)[:60])
                different = len(set(found)) - 1
                rows.append(Row(f"{kind} to {format_name}", len(found), f"{1 + different} digest", different))
                if format_name != "hf":
                    said = {name: logits(library, place / "out") for name, library in libraries.items()}
                    for name, one in said.items():
                        built[name] += one != said["gcc -O3"]
        files = len(many) * (len(FORMATS) - 1)
        for name, wrong in built.items():
            rows.append(
                Row(f"logits of these files, every path, reader built by {name}", files, f"{wrong} differ", wrong)
            )
    finish("determinism", rows, began, trial=given.trial)


if __name__ == "__main__":
    main()
