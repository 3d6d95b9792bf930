"""What the commands do; `guidekit.cli` only reads their settings."""
