"""Reference worker: looks at one video and says what is in it. See workers/analyze_video/README.md."""

VERSION = "1.0.0"
