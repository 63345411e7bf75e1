"""Decodes a file from beginning to end and prints what was in it. Runs in the environment of workers/record_stream."""

import json
import sys

import av

with av.open(sys.argv[1]) as container:
    frames = dict.fromkeys((stream.type for stream in container.streams), 0)
    codecs = [stream.codec_context.codec.canonical_name for stream in container.streams]
    errors, rotation, ratio = 0, 0, None
    times, sizes = [], []
    for packet in container.demux():
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            errors += 1
            continue
        frames[packet.stream.type] += len(decoded)
        times += [float(frame.pts * frame.time_base) for frame in decoded if frame.pts is not None]
        for frame in decoded if packet.stream.type == "video" else ():
            rotation, ratio = frame.rotation, str(packet.stream.sample_aspect_ratio)
            if [frame.width, frame.height] not in sizes:
                sizes.append([frame.width, frame.height])
    seconds = max(times, default=0) - min(times, default=0)
    told = {"format": container.format.name, "codecs": codecs, "frames": frames, "errors": errors, "seconds": seconds}
    sys.stdout.write(json.dumps(told | {"sizes": sizes, "rotation": rotation, "ratio": ratio}))
