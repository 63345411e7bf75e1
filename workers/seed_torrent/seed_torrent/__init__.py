"""Shares an object of S3 with peers, by the torrent that was made of it: see workers/seed_torrent/README.md."""
