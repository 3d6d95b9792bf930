"""Guidance that acts on the transition of discrete priors."""
