"""Every operation of an engine, judged by itself: recorded, computed again in float64, held against its bound."""
