"""Writes the run record: one line of JSON an interval, compressed, readable up to its last whole line."""
