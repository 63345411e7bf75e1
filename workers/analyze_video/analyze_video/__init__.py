"""Reference worker: finds the scenes, key frames and loudness of one video. See workers/analyze_video/README.md."""

VERSION = "1.0.0"
