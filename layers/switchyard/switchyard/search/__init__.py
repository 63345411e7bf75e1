"""What search knows: chunks of videos, and the index that holds them."""
