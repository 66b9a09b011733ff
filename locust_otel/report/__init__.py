"""What a run record can be made into."""
