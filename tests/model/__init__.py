"""Tests the dispatch protocol as a state machine. `make test-model` runs it for a long time."""
