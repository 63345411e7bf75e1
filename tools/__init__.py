"""What operators run from a clone of this repository, on a stack in AWS or on the local system."""
