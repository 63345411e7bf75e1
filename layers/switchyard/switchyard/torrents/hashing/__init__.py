"""The ways to the hashes of an object's pieces, for those who go them: one name for each.

`checksums` asks S3 for what it knows already, `copying` lets S3 compute them, `streaming` reads the object.
"""

from switchyard.torrents.hashing.checksums import Description, describe, part_digests
from switchyard.torrents.hashing.copying import Copy, NoChecksum
from switchyard.torrents.hashing.ranges import OutOfTime, Progress
from switchyard.torrents.hashing.streaming import Stream

__all__ = ["Copy", "Description", "NoChecksum", "OutOfTime", "Progress", "Stream", "describe", "part_digests"]
