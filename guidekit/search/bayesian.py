"""Search by Optuna's tree-structured Parzen estimator, where Optuna is installed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from guidekit.extras import MissingExtraError
from guidekit.search.beam import Tried
from guidekit.search.space import Point, Space


def bayesian(space: Space, tried: Callable[[], Tried], seed: int = 0, most: int = 1000) -> Iterator[Point]:
    """Points to be tried, in order, the start first; each has to be in `tried` before the next is asked for.

    Args:
        space: searched in logarithms.
        tried: scores so far, also of an earlier part of this search.
        seed: of the choice.
        most: points.

    Raises:
        MissingExtraError: no Optuna here.

    Source: Akiba et al. 2019, arXiv:1907.10902; Watanabe 2023, arXiv:2304.11127.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError('search.method=optuna needs optuna: pip install "guidekit[search]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    laws: dict[str, Any] = {
        option.name: optuna.distributions.IntDistribution(int(option.low), int(option.high), log=True)
        if option.whole
        else optuna.distributions.FloatDistribution(option.low, option.high, log=True)
        for option in space.options
    }
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed + len(tried())))
    for point, score in tried().items():
        if not math.isnan(score):
            study.add_trial(optuna.trial.create_trial(params=space.settings(point), distributions=laws, value=score))
    if space.start not in tried():
        study.enqueue_trial(space.settings(space.start))
    for _ in range(most):
        asked = study.ask(laws)
        point = tuple(option.within(float(asked.params[option.name])) for option in space.options)
        if point not in tried():
            yield point
        score = tried()[point]
        if math.isnan(score):
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(asked, score)
