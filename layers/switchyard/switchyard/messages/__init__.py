"""Reads queues and their messages, and writes messages."""
