"""Runs that are over."""
