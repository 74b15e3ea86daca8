"""SmolLM2 as llama.cpp's F32 and Q8_0 files, by its own quantizer: llama_cpp_files.py MODEL.gguf DIRECTORY"""

from __future__ import annotations

import sys
from pathlib import Path

import llama_cpp


def main() -> None:
    source, directory = sys.argv[1], Path(sys.argv[2])
    for name, kind in (("fp32", llama_cpp.LLAMA_FTYPE_ALL_F32), ("q8", llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0)):
        options = llama_cpp.llama_model_quantize_default_params()
        options.ftype = kind
        options.allow_requantize = True
        before = source if name == "fp32" else str(directory / "fp32.gguf")
        status = llama_cpp.llama_model_quantize(before.encode(), str(directory / f"{name}.gguf").encode(), options)
        if status:
            raise SystemExit(f"llama.cpp: quantize: {status}")


if __name__ == "__main__":
    main()
