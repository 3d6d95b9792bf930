"""Guidance by a learned value, whichever engine its states call for."""
