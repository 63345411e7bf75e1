"""Decodes a file from beginning to end and prints what was in it. Runs in the environment of workers/record_stream."""

import json
import sys

import av

with av.open(sys.argv[1]) as container:
    frames = dict.fromkeys((stream.type for stream in container.streams), 0)
    errors = 0
    times = []
    for packet in container.demux():
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            errors += 1
            continue
        frames[packet.stream.type] += len(decoded)
        times += [float(frame.pts * frame.time_base) for frame in decoded if frame.pts is not None]
    seconds = max(times, default=0) - min(times, default=0)
    sys.stdout.write(
        json.dumps({"format": container.format.name, "frames": frames, "errors": errors, "seconds": seconds})
    )
