"""What torrent messages ask for, and the job that is. Pure; docs/messages.md describes every shape.

The API, the reconciler and the function itself all name, write down and send torrents by this module, so that they
never mean two jobs by one object.
"""

import json
from datetime import datetime

from switchyard.jobs import Source, TargetSpec, WorkRequest
from switchyard.names import stable_hash
from switchyard.torrents.layout import ObjectVersion

KIND = "torrent"
LANE = "torrents"
TARGET = TargetSpec("function", queue="", definition="s3_torrent_creator")
"""The function that makes torrents does so itself: there are no slots, no locks and nothing to dispatch to."""


def job_id(bucket: str, key: str, version: str) -> str:
    """The job of one state of one object. `version` is as `ObjectVersion` has it."""
    return f"torrent-{stable_hash(bucket, key, version)}"


def message(bucket: str, key: str, version: str | None = None, *, again: bool = False) -> str:
    """A message that asks for an object's torrent; with `again` also where it has been made.

    With a `version` it is void once the object has been replaced.
    """
    wanted = {"bucket": bucket, "key": key, "version": version, "again": again or None}
    return json.dumps({name: value for name, value in wanted.items() if value is not None})


def request(thing: ObjectVersion, *, message_id: str, sent_at: datetime, user_id: str | None = None) -> WorkRequest:
    """The job of an object's torrent, as it is written down. `message_id` tells who asked."""
    return WorkRequest(
        job_id=job_id(thing.bucket, thing.key, thing.version),
        kind=KIND,
        lane=LANE,
        target=TARGET,
        source=Source(thing.bucket, thing.key, thing.version, message_id, version_id=thing.version_id),
        sent_at=sent_at,
        user_id=user_id,
    )
