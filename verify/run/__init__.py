"""The run of one verdict: the checks in their order, over windows of tokens, in one process or in many."""
