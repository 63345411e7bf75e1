"""The dispatch protocol as a state machine, and all that it needs around it. `make test-model` runs it for long."""
