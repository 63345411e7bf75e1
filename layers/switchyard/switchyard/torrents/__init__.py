"""Torrents of S3 objects: the format, three ways to an object's hashes, and the function's work around them."""
