"""A stand-in for AWS Batch and Amazon ECS that runs jobs and tasks as real processes on this machine.

It answers the calls of Switchyard's functions with AWS's own shapes, limits and errors, keeps its state in SQLite, and
sends the same state change events. `python -m local.compute --help` shows how to start it.

The modules, top to bottom in the order of calls:

    app             HTTP: service, permissions (authorize), injected faults (faults)
    batch  ecs      the operations: checks, shapes, paging         service: their common base
    jobs   tasks    the states of a job and of a task              retries: whether a failed job runs again
    engine          the processes of both: start, watch, end
    attempts        one run: its files and its process             supervisor: the process that watches the worker
    events          delivers state changes to EventBridge's targets
    store  runs     SQLite: jobs, tasks and undelivered events     config, errors
"""
