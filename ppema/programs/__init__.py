"""From a config to programs, and what runs them."""
