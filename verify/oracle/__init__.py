"""Derive from the source what a file must hold and what its model computes, with the verifier's own code."""
