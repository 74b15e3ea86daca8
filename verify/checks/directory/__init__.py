"""The checks on a Hugging Face directory: its files, its weights, and what its config.json means."""
