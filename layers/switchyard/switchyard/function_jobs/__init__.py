"""Jobs that a Lambda function does itself, without a target or slots: what torrents and imports share."""
