"""Start the stand-in: `python -m local.compute --config FILE --state DIRECTORY [--port N] [--emulator URL]`."""

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import click
import uvicorn
from starlette.applications import Starlette

from local.compute.app import Api, Wire
from local.compute.attempts import reap
from local.compute.authorize import Gatekeeper
from local.compute.awslogs import Awslogs
from local.compute.batch import Batch
from local.compute.config import Config, ConfigError
from local.compute.ecs import Ecs
from local.compute.engine import Engine
from local.compute.events import EventBridge, Outbox
from local.compute.faults import Faults
from local.compute.jobs import Jobs
from local.compute.store import Store
from local.compute.tasks import Tasks
from local.vectors.service import Vectors
from local.vectors.store import Store as VectorStore

LOG = logging.getLogger(__name__)
HOST = "127.0.0.1"


class Server(uvicorn.Server):
    """uvicorn, except that a signal is not a failure, and a second signal ends the workers at once."""

    def __init__(self, config: uvicorn.Config, hurry: asyncio.Event) -> None:
        super().__init__(config)
        self._hurry = hurry
        self._loop = asyncio.get_running_loop()
        self.failed = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Shut down."""
        if self.should_exit:
            self._loop.call_soon_threadsafe(self._hurry.set)
        self.should_exit = True

    def crash(self, task: asyncio.Task[None]) -> None:
        """Shut down if a background task has failed: the stand-in must not answer while it moves no jobs."""
        if not task.cancelled() and (error := task.exception()):
            LOG.critical("stopping: %s", error, exc_info=error)
            self.failed = self.should_exit = True


@dataclass
class Compute:
    """The assembled program."""

    config: Config
    state: Path
    emulator: str | None
    keep_workers: bool
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, port: int) -> bool:
        """Answer calls and run jobs until a signal; False if it ended for another reason."""
        with (
            contextlib.closing(Store(self.state / "runs.sqlite3")) as store,
            contextlib.closing(VectorStore(self.state / "vectors.sqlite3")) as vectors,
            socket.create_server((HOST, port)) as listener,
        ):
            faults = Faults()
            outbox = Outbox(self.config, store, faults)
            awslogs = Awslogs(self.emulator, self.config.region) if self.emulator else None
            engine = Engine(self.config, store, self.state / "attempts", awslogs)
            jobs = Jobs(self.config, store, outbox, engine)
            address = f"http://{HOST}:{listener.getsockname()[1]}"
            tasks = Tasks(self.config, store, outbox, engine, address)
            gatekeeper = Gatekeeper(self.emulator, self.config) if self.emulator else None
            batch, ecs = Batch(self.config, store, jobs), Ecs(self.config, store, tasks)
            api = Api(batch, ecs, Vectors(self.config, vectors), tasks, store, engine, outbox, faults, gatekeeper)

            @contextlib.asynccontextmanager
            async def lifespan(_: Starlette) -> AsyncIterator[None]:
                outbox.release()
                engine.resume()
                tasks = [asyncio.create_task(engine.run())]
                if self.emulator:
                    tasks.append(asyncio.create_task(outbox.run(EventBridge(self.emulator, self.config.region))))
                if awslogs:
                    tasks.append(asyncio.create_task(awslogs.run()))
                for task in tasks:
                    task.add_done_callback(server.crash)
                self._publish(listener.getsockname()[1])
                yield
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if not self.keep_workers:
                    await engine.close(self.hurry)

            server = Server(
                uvicorn.Config(
                    api.application(lifespan),
                    http=Wire,
                    ws="none",
                    lifespan="on",
                    loop="asyncio",
                    proxy_headers=False,
                    server_header=False,
                    access_log=False,
                    log_config=None,
                    timeout_graceful_shutdown=1,
                ),
                self.hurry,
            )
            await server.serve(sockets=[listener])
            return server.started and not server.failed

    def _publish(self, port: int) -> None:
        """Write the port to a file, atomically, for the process that started us."""
        scratch = self.state / "port.tmp"
        scratch.write_text(str(port))
        scratch.replace(self.state / "port")
        LOG.info("listening on http://%s:%d", HOST, port)


@click.command()
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for jobs and tasks."
)
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path, dir_okay=False), help="Queues, clusters and definitions."
)
@click.option("--port", default=0, show_default=True, help="0 chooses a free one; the file STATE/port has it.")
@click.option("--emulator", metavar="URL", help="For IAM and EventBridge. Without it, everything is allowed.")
@click.option("--keep-workers", is_flag=True, help="On SIGTERM, leave workers running; the next start takes them over.")
@click.option("--reap", "only_reap", is_flag=True, help="Only end the workers that a killed stand-in left behind.")
def main(
    *,
    state: Path,
    config_file: Path | None,
    port: int,
    emulator: str | None,
    keep_workers: bool,
    only_reap: bool,
) -> None:
    """A local stand-in for AWS Batch and Amazon ECS, which runs jobs and tasks as processes, and for S3 Vectors."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    state = state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise click.ClickException(f"another stand-in runs in {state}") from None
    (state / "port").unlink(missing_ok=True)
    if only_reap:
        click.echo(f"{reap(state / 'attempts')} workers ended")
        return
    if config_file is None:
        raise click.UsageError("--config is required")
    try:
        config = Config.read(config_file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    try:
        good = asyncio.run(Compute(config, state, emulator, keep_workers).serve(port))
    except OSError as error:
        raise click.ClickException(str(error)) from error
    if not good:
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    main()
