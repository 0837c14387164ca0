"""The sections of a config, each with its keys: what a user writes, typed and with its ranges."""
