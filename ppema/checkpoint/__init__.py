"""The state of a run on disk: names, arrays and JSON, written to last and checked when read. No paddle."""
