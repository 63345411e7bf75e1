"""Every parser of outside input under inputs that nobody thought of: `make fuzz`, and in small in `make test`."""
