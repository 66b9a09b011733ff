"""Analysis of a run: a timeline, a detector for each degradation pattern, and findings with their figures."""
