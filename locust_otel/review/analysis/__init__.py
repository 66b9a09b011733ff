"""The degradation pattern of a run: a timeline, one detector for each pattern, and the findings with their figures."""
