"""Start the stand-in: `python -m local.steam [--port N]`."""

import signal
import threading

import click

from local.steam.server import StandIn


@click.command()
@click.option("--port", default=0, show_default=True, help="On 127.0.0.1; 0 chooses a free one.")
def main(port: int) -> None:
    """A local stand-in for Steam and IGDB."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with StandIn(port) as standin:
        click.echo(f"listening on {standin.url}")
        ended.wait()


if __name__ == "__main__":
    main()
