"""The tests, a folder a tier."""
