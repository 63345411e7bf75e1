"""Commands for operators, on a stack in AWS or on the local system, and the list of functions."""
