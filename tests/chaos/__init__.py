"""Shows what Switchyard bears: faults on the wire, killed processes (`make test-chaos`), and long work (`make soak`).

    python -m tests.chaos storm     AWS misbehaves on every call of the functions while jobs run; processes are killed
    python -m tests.chaos soak      steady work for an hour; what is held, counted and used must not drift

Both deploy the local system anew, send it work as its clients would, and compare in the end what its tables say with
what really ran. Who calls whom, top to bottom:

    __main__                 the command line
    storm    soak            what happens when, and the report
    traffic  killer  wire    work going in; processes killed; the proxy that makes the weather
    world                    the deployed system, with quick jobs in place of real ones
    verdict  forecast  ledger  trends  report  work     pure: what may not be, which faults there are, what ran, …
    proxy                    microburst itself, in an environment of its own
    job                      what a job does; tests.nursery forks its process
"""
