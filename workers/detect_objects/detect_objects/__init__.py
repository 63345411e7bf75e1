"""Worker: finds objects in a list of pictures. See workers/detect_objects/README.md."""

VERSION = "1.0.0"
