"""Service level objectives: the file, the judged counts, the verdict."""
