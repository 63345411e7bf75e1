"""The project's own checks for `make check` and `make audit`."""
