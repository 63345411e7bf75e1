"""A stand-in for AWS Batch that runs jobs as real processes on this machine.

It answers the calls Switchyard's functions make with AWS's own shapes, limits and errors, keeps its state in SQLite,
and sends the same state change events. `python -m local.compute --help` starts it.

Who calls whom, top to bottom:

    app         HTTP: which operation, may the caller (authorize), is a fault due (faults)
    batch       the operations: checks, shapes, paging
    engine      a job's life, from SUBMITTED to its end          retries: again, or is it over?
    attempts    one run of a job, as files and a process         supervisor: the process that watches the worker
    events      state changes, out to EventBridge's targets
    store       SQLite: jobs and the events not yet delivered    config, errors
"""
