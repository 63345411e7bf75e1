"""What `make check` and `make audit` run besides other people's tools."""
