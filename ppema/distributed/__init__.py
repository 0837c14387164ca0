"""The processes of one run: what they tell each other between steps, and which of them failed."""
