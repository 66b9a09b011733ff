"""The verdict of a finished run, for CI."""
