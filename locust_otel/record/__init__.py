"""The run record: one file per run, written as it goes, from which everything about the run can be had again."""
