"""Train the bundled checkpoint: a small Llama on the King James Bible, which is in the public domain.

    apt-get install bible-kjv bible-kjv-text        (Debian; any other plain text: --text FILE)
    python -m verify.demo.train --out DIR

Writes checkpoint.pt (as llama2.c's own training loop leaves it after torch.compile, prefix included),
tokenizer.model (SentencePiece) and heldout.txt (three books that neither the tokenizer nor the model
saw), and prints the loss on the held-out text beside that text's unigram entropy.

The shape is awkward on purpose: eight query heads over two kv heads (so that a mistake between the two
counts shows) and a hidden width of 352, which a quantization group of 64 does not divide.
"""

from __future__ import annotations

import argparse
import io
import math
import re
import subprocess
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from torch import nn
from torch.nn import functional

HELD_OUT_BOOKS = ("Ruth", "Jonah", "Phi")
DIM, N_LAYERS, N_HEADS, N_KV_HEADS = 128, 2, 8, 2
VOCAB_SIZE, MAX_SEQ_LEN = 512, 256
HEAD_DIM = DIM // N_HEADS
MULTIPLE_OF = 32
HIDDEN_DIM = 352  # llama2.c's rule: two thirds of 4 * DIM, up to a multiple of MULTIPLE_OF
NORM_EPS = 1e-5


def read_bible() -> tuple[str, str]:
    """The text in (training, held-out) parts, one line a chapter, without verse numbers."""
    listing = subprocess.run(
        ["bible", "-f", "gen1:1-rev22:21"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    ).stdout
    chapters: dict[tuple[str, str], list[str]] = {}
    for line in listing.splitlines():
        verse = re.fullmatch(r"(\d?[A-Za-z]+)(\d+):\d+ (.*)", line)
        if verse:
            chapters.setdefault((verse[1], verse[2]), []).append(verse[3].strip())
    held_out = [" ".join(verses) for (book, _), verses in chapters.items() if book in HELD_OUT_BOOKS]
    training = [" ".join(verses) for (book, _), verses in chapters.items() if book not in HELD_OUT_BOOKS]
    return "\n".join(training) + "\n", "\n".join(held_out) + "\n"


def train_tokenizer(text: str) -> bytes:
    """A byte-pair SentencePiece model with byte fallback, as llama2.c's custom tokenizers are made."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        character_coverage=1.0,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        max_sentence_length=1 << 16,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


class Block(nn.Module):
    """Attention and feed-forward, with llama2.c's parameter names."""

    def __init__(self) -> None:
        super().__init__()
        kv_dim = HEAD_DIM * N_KV_HEADS
        self.attention = nn.ModuleDict(
            {
                "wq": nn.Linear(DIM, DIM, bias=False),
                "wk": nn.Linear(DIM, kv_dim, bias=False),
                "wv": nn.Linear(DIM, kv_dim, bias=False),
                "wo": nn.Linear(DIM, DIM, bias=False),
            }
        )
        self.feed_forward = nn.ModuleDict(
            {
                "w1": nn.Linear(DIM, HIDDEN_DIM, bias=False),
                "w2": nn.Linear(HIDDEN_DIM, DIM, bias=False),
                "w3": nn.Linear(DIM, HIDDEN_DIM, bias=False),
            }
        )
        self.attention_norm = nn.RMSNorm(DIM, eps=NORM_EPS)
        self.ffn_norm = nn.RMSNorm(DIM, eps=NORM_EPS)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        h = self.attention_norm(x)

        def split(name: str, count: int) -> torch.Tensor:
            return self.attention[name](h).view(batch, length, count, HEAD_DIM).transpose(1, 2)

        q, k, v = split("wq", N_HEADS), split("wk", N_KV_HEADS), split("wv", N_KV_HEADS)
        attended = functional.scaled_dot_product_attention(
            rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True, enable_gqa=True
        )
        x = x + self.attention["wo"](attended.transpose(1, 2).reshape(batch, length, DIM))
        h = self.ffn_norm(x)
        gate = functional.silu(self.feed_forward["w1"](h)) * self.feed_forward["w3"](h)
        return x + self.feed_forward["w2"](gate)


class Transformer(nn.Module):
    """A Llama with tied embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(VOCAB_SIZE, DIM)
        self.layers = nn.ModuleList(Block() for _ in range(N_LAYERS))
        self.norm = nn.RMSNorm(DIM, eps=NORM_EPS)
        self.output = nn.Linear(DIM, VOCAB_SIZE, bias=False)
        self.output.weight = self.tok_embeddings.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("wo.weight", "w2.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * N_LAYERS) if residual else 1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        frequency = 10000.0 ** -(torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        angle = torch.outer(torch.arange(tokens.shape[1]).float(), frequency)
        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x, angle.cos(), angle.sin())
        return self.output(self.norm(x))


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def unigram_entropy(tokens: np.ndarray) -> float:
    """Entropy of the text's own token frequencies in nats a token: the best that any context-free model can do."""
    _, counts = np.unique(tokens, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())


def held_out_loss(model: Transformer, tokens: np.ndarray) -> float:
    """Mean cross-entropy in nats a token, over disjoint windows of the full sequence length."""
    length = MAX_SEQ_LEN
    total, count = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, length):
            window = torch.from_numpy(tokens[start : start + length + 1])
            total += functional.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="sum").item()
            count += len(window) - 1
    return total / count


def train(model: Transformer, training: np.ndarray, held_out: np.ndarray, steps: int, batch: int) -> None:
    rng = np.random.default_rng(1)
    length, peak, warmup = MAX_SEQ_LEN, 4e-3, 100
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(steps):
        fraction = min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = peak * fraction
        starts = rng.integers(0, len(training) - length - 1, batch)
        window = torch.from_numpy(np.stack([training[s : s + length + 1] for s in starts]))
        loss = functional.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 250 == 0:
            print(
                f"step {step:5d}  training {loss.item():.3f}  held out {held_out_loss(model, held_out):.3f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory to write into")
    parser.add_argument(
        "--text", type=Path, help="train on this text, its last fiftieth held out, instead of the Bible"
    )
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()

    if arguments.text:
        text = arguments.text.read_text(encoding="utf-8")
        cut = len(text) - len(text) // 50
        training_text, held_out_text = text[:cut], text[cut:]
    else:
        training_text, held_out_text = read_bible()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer_model = train_tokenizer(training_text)
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_model)
    training = np.array([t for line in training_text.splitlines() for t in tokenizer.encode(line, add_bos=True)])
    held_out = np.array([t for line in held_out_text.splitlines() for t in tokenizer.encode(line, add_bos=True)])

    torch.manual_seed(1)
    model = Transformer()
    train(model, training, held_out, arguments.steps, arguments.batch)
    loss, entropy = held_out_loss(model, held_out), unigram_entropy(held_out)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(training)} training tokens")
    print(f"held out, {len(held_out)} tokens: loss {loss:.3f} nats a token, unigram entropy {entropy:.3f}")

    state = {f"_orig_mod.{name}": tensor for name, tensor in model.state_dict().items()}
    model_args = {
        "dim": DIM,
        "n_layers": N_LAYERS,
        "n_heads": N_HEADS,
        "n_kv_heads": N_KV_HEADS,
        "vocab_size": VOCAB_SIZE,
        "multiple_of": MULTIPLE_OF,
        "max_seq_len": MAX_SEQ_LEN,
        "dropout": 0.0,
    }
    torch.save({"model_args": model_args, "model": state}, arguments.out / "checkpoint.pt")
    (arguments.out / "tokenizer.model").write_bytes(tokenizer_model)
    (arguments.out / "heldout.txt").write_text(held_out_text, encoding="utf-8")


if __name__ == "__main__":
    main()
