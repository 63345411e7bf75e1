"""Torrents of S3 objects: the file format, three ways to get an object's hashes, and the jobs that make torrents."""
