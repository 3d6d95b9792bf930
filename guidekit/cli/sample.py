"""`guidekit sample`: draw guided samples and compare them with the unguided prior."""

from __future__ import annotations

from typing import Any


def run(config: dict[str, Any]) -> None:
    """See `guidekit.running.sample_job.run`."""
    from guidekit.running.sample_job import run as job

    job(config)
