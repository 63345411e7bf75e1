"""The command `switchyard`."""

from switchyard_client.command import act, operate, see, webhooks, work
from switchyard_client.command.session import entry, main

__all__ = ["entry", "main"]

for _each in (*work.COMMANDS, *see.COMMANDS, *act.COMMANDS, *operate.COMMANDS, webhooks.group):
    main.add_command(_each)
