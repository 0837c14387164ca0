"""The version of ppema."""

VERSION = "0.2.0"
