"""Read a source's tokenizer, and write it in the formats that engines read, or say what a format cannot hold."""
