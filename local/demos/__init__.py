"""The demos: real work through the running local system."""
