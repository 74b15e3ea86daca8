"""The engine that a user ships, on trial: whatever turns token ids into logits, run in a process of its own."""
