"""Fuzzes every parser of outside input: at length in `make fuzz`, briefly in `make test`."""
