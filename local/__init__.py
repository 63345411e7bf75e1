"""The whole system on one machine: no account, no Docker."""
