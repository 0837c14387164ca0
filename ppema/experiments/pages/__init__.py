"""Writes report.html of a run or a sweep: one file that needs no server and no network."""
