"""Hostile inputs: request bodies, file names and URLs."""
