"""Downloads a torrent's content with two independent BitTorrent clients, aria2 and libtorrent.

Both use only 127.0.0.1 and the torrent's own sources: no DHT, no peer exchange, no local discovery, no port mapping.
"""

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import libtorrent

from local.environment import VENVS
from local.processes import free_ports

_ARIA2: Final = VENVS / "dev" / "bin" / "aria2c"
_ALERTS: Final = libtorrent.alert.category_t.error_notification | libtorrent.alert.category_t.status_notification


class DownloadError(Exception):
    """The client could not download the torrent's content."""


def by_aria2(torrent: Path, folder: Path, *, seconds: float = 60) -> Path:
    """Download with aria2c into `folder`; the downloaded file.

    Raises:
        DownloadError: aria2c failed; the message has the end of its output.
    """
    (port,) = free_ports(1)
    done = subprocess.run(
        [
            *(_ARIA2, "--no-conf", "--quiet", "--console-log-level=warn", f"--dir={folder}"),
            *("--interface=127.0.0.1", "--no-proxy=127.0.0.1", f"--listen-port={port}", "--disable-ipv6"),
            *("--enable-dht=false", "--bt-enable-lpd=false", "--enable-peer-exchange=false"),
            *("--seed-time=0", "--check-integrity=true", "--auto-file-renaming=false"),
            *("--max-tries=2", "--retry-wait=1", "--connect-timeout=5", "--timeout=10"),
            *(f"--bt-stop-timeout={seconds:.0f}", f"--stop={seconds:.0f}", torrent),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-500:]
        raise DownloadError(f"aria2c could not download {torrent.name} (exit code {done.returncode}): {said}")
    return folder / libtorrent.torrent_info(str(torrent)).name()


def by_libtorrent(
    torrent: Path, folder: Path, *, seconds: float = 60, peers: Mapping[str, int] | None = None, web_seeds: bool = True
) -> Path:
    """Download with libtorrent into `folder`; the downloaded file.

    Args:
        torrent: the .torrent file.
        folder: the folder for the download.
        seconds: the time limit.
        peers: more peers to download from: addresses and ports.
        web_seeds: whether to use the torrent's web seeds.

    Raises:
        DownloadError: it took too long; the message has libtorrent's last alerts.
    """
    session = libtorrent.session(
        {
            "listen_interfaces": "127.0.0.1:0",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "ssrf_mitigation": False,  # would refuse a web seed on this machine with a query
            "allow_multiple_connections_per_ip": True,
            "urlseed_wait_retry": 1,
            "alert_mask": _ALERTS,
        }
    )
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(str(torrent))
    parameters.save_path = str(folder)
    if not web_seeds:
        parameters.url_seeds = []
        parameters.flags |= libtorrent.torrent_flags.override_web_seeds
    handle = session.add_torrent(parameters)
    for address, port in (peers or {}).items():
        handle.connect_peer((address, port))
    said: list[str] = []

    def complete() -> bool:
        said.extend(alert.message() for alert in session.pop_alerts())
        return bool(handle.status().is_seeding)

    _wait(complete, seconds, lambda: f"libtorrent has {handle.status().progress:.0%} of {torrent.name}: {said[-5:]}")
    session.remove_torrent(handle)
    return folder / parameters.ti.name()


def _wait(condition: Callable[[], bool], seconds: float, complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DownloadError(complaint())
        time.sleep(0.05)
