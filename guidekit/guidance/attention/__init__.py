"""Guidance by what happens inside the network: at its attention, its blocks, its embedding of the time."""
