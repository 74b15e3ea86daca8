"""One verdict on its way: the checks in order, over windows of tokens, on one process or on many."""
