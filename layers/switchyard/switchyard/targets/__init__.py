"""What runs a job: one module a service, all with the same verbs (see `switchyard.protocol.ports.Target`)."""
