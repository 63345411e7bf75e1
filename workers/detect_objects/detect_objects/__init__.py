"""Worker: says what is on a list of pictures, and where. See workers/detect_objects/README.md."""

VERSION = "1.0.0"
