"""Tests Switchyard under faults on the wire, killed processes (`make test-chaos`) and hours of work (`make soak`).

    python -m tests.chaos storm     faults hit every AWS call of the functions while jobs run; processes are killed
    python -m tests.chaos soak      steady work for an hour; slots, counters and memory must not drift

Both deploy a new local system, send it work as clients do, and finally compare its tables with the runs that really
happened. Modules, each calling those below it:

    __main__                 the command line
    storm    soak            the course of a run, and its report
    traffic  killer  wire    sends work; kills processes; runs the proxy that injects faults
    world                    the deployed system, with quick jobs in place of real ones
    verdict  forecast  ledger  trends  report  work     pure: violations, faults, runs, samples, text, accepted work
    proxy                    microburst itself, in its own environment
    job                      the work of a job; tests.nursery forks its process
"""
