"""Try a user's own engine: any program that computes logits of token ids, run in its own process."""
