"""What Switchyard costs, beside the floor and the usual way, measured in one run. docs/performance.md explains it."""
