"""Passes: each changes a train program under construction, or derives one program from another."""
