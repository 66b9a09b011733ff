"""What can be made of a run record."""
