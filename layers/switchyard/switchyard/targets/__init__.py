"""The services that run jobs: one implementation of `switchyard.protocol.ports.Target` per module."""
