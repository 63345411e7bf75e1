"""Inputs as hostile as they come, by what they are for."""
