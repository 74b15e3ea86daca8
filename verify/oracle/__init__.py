"""The oracle: what a file must hold and what its model computes, derived from the source by the verifier alone."""
