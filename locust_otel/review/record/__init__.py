"""Reading run records."""
