"""Turns text into vectors by a sentence-embedding model, all-MiniLM-L6-v2, on the CPU and without a network.

The worker's stage `index` and the function `search_media` share this package, so that a question and what it should
find are embedded by the same code. Importing it loads nothing: numpy and the tokenizer are loaded with the model.
"""

MODEL = "minilm-l6-v2"
"""The model's name as part of an index's name: vectors of different models can't be compared."""
DIMENSION = 384
"""Numbers of a vector."""
