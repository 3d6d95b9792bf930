"""Guidance that only chooses where sampling begins."""
