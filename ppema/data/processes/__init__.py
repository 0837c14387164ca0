"""The worker processes of a loader, and the memory that it shares with them."""
