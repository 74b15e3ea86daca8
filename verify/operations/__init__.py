"""Judge the operations of an engine: each is recorded, computed again in float64, and compared within its error
bound."""
