"""`python -m switchyard_client`: the command `switchyard`."""

from switchyard_client.command import entry

entry()
