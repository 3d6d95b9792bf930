"""Guidance by contrast: away from a worse prediction, towards a better one."""
