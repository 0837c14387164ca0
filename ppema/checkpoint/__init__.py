"""The state of a run on disk: names, arrays and JSON, written durably and checked when read. Imports no paddle."""
