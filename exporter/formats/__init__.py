"""The formats that the exporter writes: byte layouts, heads, and a directory for transformers."""
