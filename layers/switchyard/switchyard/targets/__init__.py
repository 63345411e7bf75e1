"""What runs a job: one module a service, all with the same four verbs (see `switchyard.dispatch.Target`)."""
