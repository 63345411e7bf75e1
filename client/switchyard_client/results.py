"""Downloads a job's result files by their links."""

from pathlib import Path, PurePosixPath

from switchyard_client import shapes
from switchyard_client.api import Api
from switchyard_client.errors import SwitchyardError
from switchyard_client.uploads import Storage, StorageRefusedError, together


async def fetch(api: Api, storage: Storage, job: shapes.Job, folder: Path, parallel: int) -> list[Path]:
    """As `Switchyard.results`."""
    links = {safe(name): name for name in job.get("links", {})}
    folder.mkdir(parents=True, exist_ok=True)

    async def one(path: Path) -> None:
        name, target = links[path], folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            await storage.download(job["links"][name], target)
        except StorageRefusedError:
            # The link has expired while others were fetched.
            fresh = (await api.get_job(job["jobId"])).get("links", {})
            if name not in fresh:
                raise
            await storage.download(fresh[name], target)

    await together(one, links, parallel)
    return [folder / path for path in links]


def safe(name: str) -> Path:
    """A result's name as a relative path that stays in its folder, on every system.

    Raises:
        SwitchyardError: It would leave the folder.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or any(part in {"..", "/"} or ":" in part or not part.isprintable() for part in parts):
        raise SwitchyardError(f"the result {name!r} has a name that is no file's: it was not fetched")
    return Path(*parts)
