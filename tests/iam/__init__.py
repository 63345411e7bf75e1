"""Shows that no function has a superfluous permission (`make check-iam`). `__main__` explains the method."""
