"""Benchmarks of Switchyard against the floor and the usual way, in one run. docs/performance.md explains them."""
