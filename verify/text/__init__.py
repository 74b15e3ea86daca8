"""A file on its own: how well it predicts a text. Needs no source."""

from verify.text.perplexity import Perplexity, perplexity

__all__ = ["Perplexity", "perplexity"]
