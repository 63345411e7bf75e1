"""In-memory twins of what the layer talks to; tests/contract holds them to the real ones."""
