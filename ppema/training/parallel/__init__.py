"""The part of one rank in a run that several processes train."""
