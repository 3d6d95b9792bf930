"""Guidance by weighted particles."""
