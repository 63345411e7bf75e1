"""Queues, and what their messages ask for."""
