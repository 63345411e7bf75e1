"""Worker: seeds an S3 object with the torrent that was made of it. See workers/seed_torrent/README.md."""
