"""An RTMP server that plays a file to one client, once. Runs in the environment of workers/record_stream."""

import sys

import av

file, address = sys.argv[1:]
with av.open(file) as source, av.open(address, "w", format="flv", options={"listen": "1"}) as target:
    streams = {stream: target.add_stream_from_template(stream) for stream in source.streams}
    for packet in source.demux():
        if packet.dts is not None:
            packet.stream = streams[packet.stream]
            target.mux(packet)
