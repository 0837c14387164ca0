"""The version of ppema."""

VERSION = "0.1.0"
