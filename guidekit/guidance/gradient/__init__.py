"""Guidance by gradients: through the network, or of a value of noisy states."""
