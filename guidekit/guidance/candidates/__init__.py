"""Guidance by search among candidates of one sample."""
