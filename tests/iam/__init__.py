"""`make check-iam`: no function may do what it needn't. `__main__` tells how that is shown."""
