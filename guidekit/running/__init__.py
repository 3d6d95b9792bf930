"""Runs on disk: atomic output folders, resumable chunks, rewards and guidances built from configuration."""
