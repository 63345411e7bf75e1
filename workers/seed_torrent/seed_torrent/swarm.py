"""A libtorrent session with one torrent: its settings and its alerts."""

import errno
import logging
from dataclasses import dataclass
from typing import Self

import libtorrent

from seed_torrent.settings import Settings
from seed_torrent.source import Torrent
from switchyard_worker import PermanentFailure, TryAgain

log = logging.getLogger(__name__)

STOP_SECONDS = 3
"""How long to wait at the end until the trackers have been told."""
_TICK_MS = 250
_ALERTS = (
    libtorrent.alert_category.error
    | libtorrent.alert_category.status
    | libtorrent.alert_category.storage
    | libtorrent.alert_category.tracker
)
_BANNED = ("libtorrent", 91)
"""The error for a web seed that sent a piece with a wrong hash: `errors::peer_banned` of libtorrent/error_code.hpp."""


@dataclass(frozen=True, slots=True)
class State:
    """The torrent's state. `had` and `uploaded` count bytes of the object, without the protocol's."""

    complete: bool
    had: int
    uploaded: int
    peers: int


class WrongBytes(PermanentFailure):
    """The downloaded bytes don't match the torrent's hashes."""

    def __init__(self) -> None:
        super().__init__("WRONG_BYTES", "the object's bytes don't match the torrent's hashes")


class Swarm:
    """This peer in a torrent's swarm, for the duration of the context.

    Args:
        torrent: the torrent to share.
        folder: where to store its bytes. Peers request them in any order.
        settings: the worker's settings.
        local: whether S3 runs on this machine. libtorrent rejects local URLs with a query, since a stranger's torrent
            might name one, and on AWS there is no need for them.

    Raises:
        PermanentFailure: it can't listen.
    """

    def __init__(self, torrent: Torrent, folder: str, settings: Settings, *, local: bool) -> None:
        pack: libtorrent.settings_pack = {
            "listen_interfaces": settings.listen_interfaces,
            "max_retry_port_bind": 0,  # only the given port: it is the one that the firewall allows
            "listen_system_port_fallback": False,
            "enable_dht": settings.dht and not torrent.info.priv(),
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "allow_multiple_connections_per_ip": True,  # all people of a company may share one address
            "ssrf_mitigation": not local,
            "stop_tracker_timeout": STOP_SECONDS,
            "alert_mask": _ALERTS,
        }
        self._session: libtorrent.session = libtorrent.session(pack)
        if not self._session.is_listening():
            problems = "; ".join(
                f"{alert.address}:{alert.port}: {alert.error.message()}"
                for alert in self._session.pop_alerts()
                if isinstance(alert, libtorrent.listen_failed_alert)
            )
            raise PermanentFailure("CANNOT_LISTEN", f"can't listen on any address of LISTEN_INTERFACES: {problems}")
        parameters = torrent.parameters
        parameters.save_path = folder
        parameters.renamed_files = {0: "data"}  # its own name is untrusted
        parameters.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
        if not settings.dht:
            parameters.flags |= libtorrent.torrent_flags.disable_pex
        parameters.url_seeds = []  # the torrent's own web seeds may cost somebody money or be out of date
        self._torrent = self._session.add_torrent(parameters)
        self._web_seed = ""
        log.info("listening", extra={"fields": {"port": self.port, "infohash": torrent.infohash}})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The session ends with its last reference, and then waits until the trackers have been told.
        self._session.remove_torrent(self._torrent)
        del self._session

    @property
    def port(self) -> int:
        """The port that peers may connect to."""
        return self._session.listen_port()

    def fetch_from(self, url: str) -> None:
        """Download from `url` instead of the earlier URL. Empty: only from peers."""
        if url == self._web_seed:
            return
        if url:
            self._torrent.add_url_seed(url)
        if self._web_seed:
            self._torrent.remove_url_seed(self._web_seed)
        self._web_seed = url

    def state(self) -> State:
        """The torrent's current state."""
        status = self._torrent.status()
        return State(status.is_seeding, status.total_wanted_done, status.total_payload_upload, status.num_peers)

    def troubles(self) -> list[str]:
        """Wait a moment for alerts. Returns the errors of the URL that the bytes are downloaded from.

        Raises:
            WrongBytes: the downloaded bytes don't match the torrent's hashes.
            PermanentFailure: the disk is full.
            TryAgain: the disk failed.
        """
        self._session.wait_for_alert(_TICK_MS)
        troubles = []
        for alert in self._session.pop_alerts():
            # Never log an alert's own message: it may contain a presigned URL, or a tracker's URL with somebody's key.
            match alert:
                case libtorrent.url_seed_alert() if alert.server_url() == self._web_seed:
                    if (alert.error.category().name(), alert.error.value()) == _BANNED:
                        raise WrongBytes
                    troubles.append(alert.error_message() or alert.error.message())
                case libtorrent.file_error_alert():
                    if alert.error.value() == errno.ENOSPC:
                        raise PermanentFailure("NO_SPACE", "the disk is full")
                    raise TryAgain("DISK_ERROR", f"the disk failed: {alert.error.message()}")
                case libtorrent.listen_failed_alert():
                    log.warning("can't listen on %s:%d: %s", alert.address, alert.port, alert.error.message())
                case libtorrent.tracker_error_alert():
                    log.warning("tracker error: %s", alert.failure_reason() or alert.error.message())
        return troubles
