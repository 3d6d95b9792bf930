"""Measurement operators: what an instrument sees of a state. One family a file; `base` says what each may offer."""
