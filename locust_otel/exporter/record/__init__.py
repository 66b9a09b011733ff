"""Writing the run record."""
