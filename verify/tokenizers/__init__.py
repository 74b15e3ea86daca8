"""What a tokenizer says, read from the source and from what was written of it; the source's library as judge."""
