"""A conditional prior made of one prior per class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior, Time
from guidekit.core.state import put


class ClassConditional(Prior):
    """Class c is sampled from priors[c], no condition (-1) from `null`.

    The unconditional law need not be the mixture of the conditional ones, as with a network trained by label dropout:
    the closed forms of classifier-free guidance speak of such pairs.

    Args:
        null: prior without condition.
        priors: one prior per class, with the process and state shape of `null`.
    """

    name = "prior by class"

    def __init__(self, null: Prior, priors: Sequence[Prior]) -> None:
        for prior in priors:
            if prior.event_shape != null.event_shape or prior.process != null.process:
                raise ValueError("all priors of a ClassConditional need one state shape and one process")
        self.laws = [*priors, null]
        self.process, self.event_shape, self.null_condition = null.process, null.event_shape, torch.tensor(-1)
        self.choices = (torch.ones(len(priors)),)
        self.timeless = all(prior.timeless for prior in self.laws)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Prediction:
        """The prediction of each row's own prior; see `Prior.predict`."""
        prediction = self.laws[-1].predict(x, t)
        if condition is None:
            return prediction
        for index in condition.unique().tolist():
            if index == -1:
                continue
            rows = (condition == index).nonzero()[:, 0]
            part = t[rows] if isinstance(t, Tensor) else t
            prediction = put(prediction, rows, self.laws[index].predict(x[rows], part))
        return prediction
