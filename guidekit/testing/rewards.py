"""What every reward does, whatever it judges."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from guidekit.core.network import differentiable
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.state import State, batch, leaves, map_leaves, take
from guidekit.objectives.objects import score
from guidekit.sampling import sample


def check_reward(prior: Prior, reward: Objective, states: State | None = None, tolerance: float = 1e-4) -> Tensor:
    """Check all properties below on clean states of a prior; returns the scores (B,) for further checks.

    Args:
        prior: whose states are judged.
        reward: the objective.
        states: (B, *S); None draws some.
        tolerance: relative, of a score that a dense network gives in other company.
    """
    states = sample(prior, num_samples=5, steps=8).samples if states is None else states
    assert isinstance(reward, Objective), f"{type(reward).__name__} is no objective: see Domain.bind"
    reward.check(prior)
    assert reward.on in ("clean", "noisy", "objects"), f"on={reward.on!r}; clean, noisy or objects are known"
    assert isinstance(reward.name, str) and reward.name, "a reward has a name, for tables"
    assert reward.temperature is None or reward.temperature > 0, f"temperature={reward.temperature} is not above 0"
    scores = score(prior, reward, states)
    check_scores(reward, scores, batch(states))
    check_rows(prior, reward, states, scores, tolerance)
    if reward.on == "objects":
        check_objects(prior, reward, states, scores)
    if reward.differentiable and reward.on == "clean" and all(leaf.is_floating_point() for leaf in leaves(states)):
        check_gradient(reward, states, tolerance)
    return scores


def check_scores(reward: Objective, scores: Tensor, size: int) -> None:
    """One number below infinity a state, none below the floor."""
    assert scores.shape == (size,), f"scores of shape {tuple(scores.shape)} for {size} states"
    assert not scores.isnan().any() and not scores.isposinf().any(), "a score is NaN or plus infinity"
    least = scores[scores.isfinite()].min().item() if scores.isfinite().any() else math.inf
    floor = -math.inf if reward.floor is None else reward.floor  # NaN where nobody says
    assert not least < floor - 1e-9, f"a score of {least:g} is below floor={floor:g}; None is no floor"


def check_rows(prior: Prior, reward: Objective, states: State, scores: Tensor, tolerance: float) -> None:
    """A score is a function of its state: not of the call, of the states beside it, or of their order."""
    assert _close(score(prior, reward, states), scores, 0.0), "the same states scored differently the second time"
    alone = torch.cat([score(prior, reward, take(states, slice(i, i + 1))) for i in range(min(2, batch(states)))])
    assert _close(alone, scores[:2], tolerance), "the score of a state depends on the states beside it"
    order = torch.arange(batch(states) - 1, -1, -1, device=leaves(states)[0].device)
    turned = score(prior, reward, take(states, order))
    assert _close(turned, scores.flip(0), tolerance), "the score of a state depends on the order"


def check_objects(prior: Prior, reward: Objective, states: State, scores: Tensor) -> None:
    """The objects, decoded, score as their states do; states that are no object score minus infinity."""
    objects = prior.decode(states)
    assert _close(reward(objects).to(scores), scores, 0.0), "objects score differently from the states they come from"
    invalid = [obj is None for obj in objects]
    assert scores[torch.tensor(invalid)].isneginf().all(), "a state that is no object scores more than minus infinity"


def check_gradient(reward: Objective, states: State, tolerance: float) -> None:
    """The gradient of a score in its own state is finite, and the same beside other states."""
    whole, alone = _gradients(reward, states), _gradients(reward, take(states, slice(0, 1)))
    assert all(one.isfinite().all() for one in whole), "a gradient is not finite"
    for one, first in zip(whole, alone, strict=True):
        size = one[:1].abs().max().clamp_min(1e-12)
        assert ((one[:1] - first).abs().max() / size) <= 100 * tolerance, "a gradient depends on the states beside it"


def _gradients(reward: Objective, states: State) -> list[Tensor]:
    x = map_leaves(differentiable, states)
    found = torch.autograd.grad(reward(x).sum(), leaves(x), allow_unused=True)
    return [torch.zeros_like(leaf) if one is None else one for one, leaf in zip(found, leaves(x), strict=True)]


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether scores are equal, up to a relative tolerance where they are finite."""
    finite = b.isfinite()
    if not torch.equal(a.isfinite(), finite):
        return False
    scale = b[finite].abs().max().clamp_min(1.0) if finite.any() else torch.ones(())
    return bool(((a - b)[finite].abs() <= tolerance * scale).all())
