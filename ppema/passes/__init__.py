"""Passes: each changes a program under construction, or makes one program of another."""
