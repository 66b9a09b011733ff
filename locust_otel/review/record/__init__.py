"""Reads run records, of this version and of earlier ones, and judges them again."""
