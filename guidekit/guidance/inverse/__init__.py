"""Guidance by what a measurement operator offers."""
