"""Calls to hosts outside AWS: HTTP with bounds, and the secrets for it."""
