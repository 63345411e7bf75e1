"""Three ways to get the hashes of an object's pieces.

`checksums` uses checksums that S3 already has, `copying` has S3 compute them, `streaming` reads the object.
"""

from switchyard.torrents.hashing.checksums import Description, describe, part_digests
from switchyard.torrents.hashing.copying import Copy, NoChecksum
from switchyard.torrents.hashing.ranges import OutOfTime, Progress
from switchyard.torrents.hashing.streaming import Stream

__all__ = ["Copy", "Description", "NoChecksum", "OutOfTime", "Progress", "Stream", "describe", "part_digests"]
