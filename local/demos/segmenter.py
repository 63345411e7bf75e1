"""Cuts a clip into the files of a stream. Runs in the environment of workers/record_stream, which has FFmpeg.

`python segmenter.py CLIP FOLDER KIND`: the video is re-encoded, small and with a key frame every second, as a live
encoder does. The audio is copied.
"""

import os
import sys
from fractions import Fraction
from pathlib import Path

import av

RATE = 25
SIZE = (320, 180)
ENCRYPTED = {"hls_enc": "1", "hls_enc_key_url": "index.m3u8.key"}
KINDS = {
    "hls": ("index.m3u8", "hls", {"hls_time": "1", "hls_list_size": "0", "hls_segment_filename": "%05d.ts"}),
    "hls-encrypted": ("index.m3u8", "hls", {"hls_time": "1", "hls_list_size": "0", **ENCRYPTED}),
    "hls-fmp4": ("index.m3u8", "hls", {"hls_time": "1", "hls_list_size": "0", "hls_segment_type": "fmp4"}),
    "dash": ("index.mpd", "dash", {"seg_duration": "1"}),
    "mp4": ("clip.mp4", "mp4", {}),
}


def main(clip: str, folder: str, kind: str) -> None:
    """Write the stream's files into `folder`."""
    name, container, options = KINDS[kind]
    clip = str(Path(clip).resolve())
    Path(folder).mkdir(parents=True, exist_ok=True)
    os.chdir(folder)  # the names in the options are relative
    with av.open(clip) as source, av.open(name, "w", format=container, options=options) as target:
        picture, sound = source.streams.video[0], source.streams.best("audio")
        video = target.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "sc_threshold": "0"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.gop_size = video.codec_context.gop_size = RATE
        video.codec_context.time_base = Fraction(1, RATE)
        audio = target.add_stream_from_template(sound) if sound else None
        pictures = 0
        for packet in source.demux([each for each in (picture, sound) if each]):
            if packet.stream is sound:
                if packet.dts is not None:
                    packet.stream = audio
                    target.mux(packet)
                continue
            for frame in packet.decode():
                small = frame.reformat(*SIZE, "yuv420p")
                small.pts, small.time_base, small.pict_type = pictures, Fraction(1, RATE), 0
                pictures += 1
                target.mux(video.encode(small))
        target.mux(video.encode())


main(*sys.argv[1:])
