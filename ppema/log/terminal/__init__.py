"""What a run shows to people while it trains: a live table on a terminal, plain lines elsewhere."""
