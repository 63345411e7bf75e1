"""What a torrent file holds: pure, standard library only."""
