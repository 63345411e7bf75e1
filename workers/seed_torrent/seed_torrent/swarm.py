"""libtorrent with one torrent in it: its settings, and what it tells."""

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
"""How long the end waits for trackers to hear of it."""
_TICK_MS = 250
_ALERTS = (
    libtorrent.alert_category.error
    | libtorrent.alert_category.status
    | libtorrent.alert_category.storage
    | libtorrent.alert_category.tracker
)
_BANNED = ("libtorrent", 91)
"""The error of a web seed that sent a piece whose hash is wrong: `errors::peer_banned` of libtorrent/error_code.hpp."""


@dataclass(frozen=True, slots=True)
class State:
    """How it stands. Bytes are the object's own: `uploaded` counts none of the protocol's."""

    complete: bool
    had: int
    uploaded: int
    peers: int


class WrongBytes(PermanentFailure):
    """What is fetched doesn't have the torrent's hashes."""

    def __init__(self) -> None:
        super().__init__("WRONG_BYTES", "the object's bytes are not those that the torrent is about")


class Swarm:
    """A torrent's peers, and this one among them, while the context lasts.

    Args:
        torrent: what is shared.
        folder: where its bytes are kept. Peers ask for them in any order.
        settings: the worker's.
        local: whether its source is on this machine. libtorrent refuses an address here that has a query, since a
            stranger's torrent might name one; nothing in the cloud has reason to be here.

    Raises:
        PermanentFailure: it can't listen.
    """

    def __init__(self, torrent: Torrent, folder: str, settings: Settings, *, local: bool) -> None:
        pack: libtorrent.settings_pack = {
            "listen_interfaces": settings.listen_interfaces,
            "max_retry_port_bind": 0,  # the port is the one that a firewall lets through, or none
            "listen_system_port_fallback": False,
            "enable_dht": settings.dht and not torrent.info.priv(),
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "allow_multiple_connections_per_ip": True,  # a company's people have one address between them
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
            raise PermanentFailure("CANNOT_LISTEN", f"no address of LISTEN_INTERFACES can be listened on: {problems}")
        parameters = torrent.parameters
        parameters.save_path = folder
        parameters.renamed_files = {0: "data"}  # its own name is whatever somebody called an object
        parameters.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
        if not settings.dht:
            parameters.flags |= libtorrent.torrent_flags.disable_pex
        parameters.url_seeds = []  # other ways to the same bytes, which may cost somebody, or be out of date
        self._torrent = self._session.add_torrent(parameters)
        self._web_seed = ""
        log.info("listening", extra={"fields": {"port": self.port, "infohash": torrent.infohash}})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The session's end is that of its last reference; it waits for the trackers to hear of it.
        self._session.remove_torrent(self._torrent)
        del self._session

    @property
    def port(self) -> int:
        """Where peers may connect."""
        return self._session.listen_port()

    def fetch_from(self, url: str) -> None:
        """Get the bytes there, and no longer where they were got before. Empty: nowhere but from peers."""
        if url == self._web_seed:
            return
        if url:
            self._torrent.add_url_seed(url)
        if self._web_seed:
            self._torrent.remove_url_seed(self._web_seed)
        self._web_seed = url

    def state(self) -> State:
        """How it stands."""
        status = self._torrent.status()
        return State(status.is_seeding, status.total_wanted_done, status.total_payload_upload, status.num_peers)

    def troubles(self) -> list[str]:
        """Wait a moment. What has gone wrong meanwhile at the address that the bytes are fetched from.

        Raises:
            WrongBytes: what comes from there isn't what the torrent is about.
            PermanentFailure: the disk is full.
            TryAgain: the disk is in trouble.
        """
        self._session.wait_for_alert(_TICK_MS)
        troubles = []
        for alert in self._session.pop_alerts():
            # No alert's own message: it may have a signed address in it, or a tracker's with somebody's key.
            match alert:
                case libtorrent.url_seed_alert() if alert.server_url() == self._web_seed:
                    if (alert.error.category().name(), alert.error.value()) == _BANNED:
                        raise WrongBytes
                    troubles.append(alert.error_message() or alert.error.message())
                case libtorrent.file_error_alert():
                    if alert.error.value() == errno.ENOSPC:
                        raise PermanentFailure("NO_SPACE", "the disk is full")
                    raise TryAgain("DISK_ERROR", f"the disk: {alert.error.message()}")
                case libtorrent.listen_failed_alert():
                    log.warning("not listening on %s:%d: %s", alert.address, alert.port, alert.error.message())
                case libtorrent.tracker_error_alert():
                    log.warning("a tracker: %s", alert.failure_reason() or alert.error.message())
        return troubles
