"""Writes the run record: some lines of JSON an interval, compressed, readable up to the last complete line."""
