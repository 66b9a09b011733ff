"""The live page of a run, with new values each second; it loads nothing from other servers."""
