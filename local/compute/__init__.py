"""A stand-in for AWS Batch and Amazon ECS that runs jobs and tasks as real processes on this machine.

It answers the calls Switchyard's functions make with AWS's own shapes, limits and errors, keeps its state in SQLite,
and sends the same state change events. `python -m local.compute --help` starts it.

Who calls whom, top to bottom:

    app             HTTP: which service, may the caller (authorize), is a fault due (faults)
    batch  ecs      the operations: checks, shapes, paging         service: what both have in common
    jobs   tasks    a job's and a task's life, state by state      retries: again, or is a job over?
    engine          the processes of both: start, watch, end
    attempts        one run, as files and a process                supervisor: the process that watches the worker
    events          state changes, out to EventBridge's targets
    store  runs     SQLite: jobs and tasks, and the events not yet delivered        config, errors
"""
