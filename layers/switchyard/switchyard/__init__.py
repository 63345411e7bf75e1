"""Switchyard's shared layer: what every function imports. Imports point one way, see docs/architecture.md."""
