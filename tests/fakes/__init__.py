"""In-memory fakes of the services that the layer calls. tests/contract verifies them against the real ones."""
