"""Reading of run records of this version, and judging of runs again from them."""
