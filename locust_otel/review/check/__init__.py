"""The verdict on a finished run, for CI: sources of numbers, an SLO file, a baseline, formats of the answer."""
