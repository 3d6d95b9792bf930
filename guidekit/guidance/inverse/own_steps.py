"""What guidances have in common whose steps are their own: settings, and whom they cannot have inside."""

from __future__ import annotations

from collections.abc import Sequence

from guidekit.core.guidance import Guidance, GuidanceError, overrides


def check_nobody_inside(guidance: Guidance, members: Sequence[Guidance]) -> None:
    """Refuse guidances inside whose steps would be ignored: only what changes the estimate is looked at."""
    for member in members:
        if member is guidance:
            return
        if overrides(member, "propose") or overrides(member, "move"):
            raise GuidanceError(
                f"{guidance.name} takes its own steps and would ignore those of {member.name} inside it: leave out one"
            )


def check_counts(**counts: int) -> None:
    """Raise `ValueError` for a number of times below 1."""
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {count!r}")


def check_floor(floor: float) -> None:
    """Raise `ValueError` for a least noise that is not above 0: there is no law without one."""
    if not floor > 0:
        raise ValueError(f"floor must be above 0, got {floor}: it is the least noise of y that is assumed")


__all__ = ["check_counts", "check_floor", "check_nobody_inside"]
