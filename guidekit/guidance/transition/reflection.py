"""Reflection: find where a finished sequence breaks a rule, repair it, pin the repair, sample what follows again."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, Layer
from guidekit.core.loop import Setup, walk, wrapped
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.question import Question
from guidekit.core.recorder import Recorder
from guidekit.core.state import altered, put, take, where
from guidekit.core.step import Step
from guidekit.objectives.reward import objective_of
from guidekit.objectives.verifiers import Verifier, verify, violations
from guidekit.registry import register

LEAST = -50.0
"""Log-probability taken for a token to be replaced that the model thinks impossible, nats."""


@register("guidance", "reflection")
@dataclasses.dataclass(frozen=True, eq=False)
class Reflection(Guidance[None]):
    """Verifies finished sequences and, where one breaks a rule, repeats: repair the first violation, sample on.

    A round, for the rows with a violation (the others stay as they are):
      1. The tokens of the first violation are masked and the model is asked for them: one network row.
      2. Substitutions of one of these tokens, or of both where there are two, are tried in the order of their
         probability. The first after which the verifier sees nothing up to the end of the span is the repair; with
         `score`, the one of largest log-probability + score among all that are tried.
      3. The `window` tokens behind the span are masked and sampled again by the run's own sampler and guidance; all
         else is pinned. Where no substitution helps, the span and as many tokens before it are sampled again too, and
         twice as many each time that happens.
    It ends with the verifier's consent or after `rounds`; then the best sequence seen is handed back: fewest
    violations, then highest score. Rows without a violation are those of the unguided sampler, bit for bit. Repaired
    ones are no draws from the prior given that the rule holds. No gradient is taken. Particle filters do not act while
    tokens are sampled again, and weights are left as they are.

    Args:
        verifier: see `guidekit.objectives.verifiers`.
        rounds: most rounds; 0 only counts violations.
        window: tokens behind a repair that are sampled again; None is all of them, 0 is local repair.
        neighbours: ids are positions on a scale, and a token may move by at most this much; None allows all ids.
        tries: most substitutions verified a row and round.
        score: of clean tokens or objects, nats, higher is better: minus a cost over a temperature; an objective, or a
            function of tokens (B, L) -> (B,). Optional.

    Raises:
        ValueError: a number below its least.

    Source: reconstructed from the abstract of ReflectDrive, arXiv:2509.20109; giving up tokens before a dead end is
    ours.
    """

    verifier: Verifier
    rounds: int = 32
    window: int | None = None
    neighbours: int | None = None
    tries: int = 256
    score: Objective | None = None
    layer = Layer.FILTER
    requires = frozenset({Fact.MASKED, Fact.SEQUENCE})

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, least in (("rounds", 0), ("window", 0), ("neighbours", 1), ("tries", 1)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= least):
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
        if self.score is not None:
            object.__setattr__(self, "score", objective_of(self.score, "Reflection", "a score"))

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """The score, where there is one."""
        return () if self.score is None else (self.score,)

    def finish(self, population: Population) -> Population:
        """See `Guidance.finish`."""
        now = best = self._judge(population, population.state)
        broken, setup = now.first >= 0, population.setup
        stuck = taken = torch.zeros_like(now.first)
        work = altered(population, setup=_resting(setup))
        for i in range(self.rounds):
            rows = (now.first >= 0).nonzero()[:, 0]
            if len(rows) == 0:
                break
            part = take(now, rows)
            repaired, helped = self._repair(work, part, rows)
            pinned = self._pinned(part, helped, stuck[rows], setup.prior.process)
            work = self._sample_on(work, put(now.tokens, rows, repaired), rows, pinned, i)
            fresh = self._judge(work, work.state[rows], rows)
            now, best = put(now, rows, fresh), put(best, rows, take(best, rows).or_better(fresh))
            stuck = put(stuck, rows, stuck[rows] + (~helped).long())
            taken = put(taken, rows, taken[rows] + 1)
        shape = (population.groups, population.particles)
        setup.recorder.record("violations before", broken.view(shape).sum(1))
        setup.recorder.record("violations after", (best.first >= 0).view(shape).sum(1))
        setup.recorder.record("rounds", taken.view(shape).amax(1))
        return population.at(best.tokens)

    def _judge(self, population: Population, tokens: Tensor, rows: Tensor | None = None) -> Judged:
        """What is to be said of tokens in some rows of a population; None is all."""
        first, stop = verify(self.verifier, tokens)
        return Judged(
            tokens, first, stop, violations(self.verifier, tokens, first), self._scored(population, tokens, rows)
        )

    def _scored(self, population: Population, tokens: Tensor, rows: Tensor | None) -> Tensor:
        """The score of tokens (R, L), zero without one."""
        if self.score is None:
            return torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
        held = population.slots.get(self.score)
        held = held if rows is None else take(held, rows)
        return self.score.look(lambda on: population.setup.seen(tokens, on), 0.0, held).double()

    def _repair(self, population: Population, part: Judged, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (R, L) with the best substitution that the verifier accepts, and where (R,) there is one."""
        setup, process = population.setup, population.process
        span = _between(part.first, part.stop, part.tokens) & _real(part.tokens, process)
        asked = part.tokens.masked_fill(span, process.mask_id)
        # Schedules take it for the last step of the run: nearly everything is known.
        last = population.at(population.state, setup.steps[-1].start)
        condition = take(population.condition, rows)
        prediction = setup.denoise(Question(last, asked, _time(asked, process), condition, setup.prior, rows))
        log_probs: Tensor = prediction.log_probs  # type: ignore[attr-defined]
        places, ids, gains = substitutions(part, log_probs, span, self.neighbours, self.tries)
        repaired, best = part.tokens.clone(), torch.full_like(gains[:, 0], -torch.inf)
        for place, token, gain in zip(places.unbind(1), ids.unbind(1), gains.unbind(1), strict=True):
            # Gains fall, so that without a score nothing behind the first repair can be better.
            wanted = gain.isfinite() if self.score is not None else gain > best
            these = wanted.nonzero()[:, 0]
            if len(these) == 0:
                break
            tried = part.tokens[these].scatter(1, place[these], token[these])
            first, _ = verify(self.verifier, tried)
            right = (first < 0) | (first >= part.stop[these])
            these, tried = these[right], tried[right]
            value = gain[these] + self._scored(population, tried, rows[these])
            better = value > best[these]
            best[these[better]], repaired[these[better]] = value[better], tried[better]
        return repaired, best.isfinite()

    def _pinned(self, part: Judged, helped: Tensor, stuck: Tensor, process: Any) -> Tensor:
        """Tokens (R, L) that are not sampled again; stuck (R,) is in how many rounds before nothing helped."""
        length = part.tokens.shape[1]
        back = (part.stop - part.first) << stuck.clamp_max(30)
        begin = torch.where(helped, part.stop, part.first - back)
        end = part.stop + (length if self.window is None else self.window)
        return ~(_between(begin, end, part.tokens) & _real(part.tokens, process))

    def _sample_on(
        self, population: Population, tokens: Tensor, rows: Tensor, pinned: Tensor, visit: int
    ) -> Population:
        """The population at tokens (B, L), in some rows those not pinned (R, L) sampled again by the run's own loop."""
        setup, process = population.setup, population.process
        kept = torch.ones_like(tokens, dtype=torch.bool).index_copy(0, rows, pinned)
        masked = tokens.masked_fill(~kept, process.mask_id)
        population = population.at(masked, setup.steps[0].start)
        if isinstance(population.time, Tensor):  # of samplers that remember a time for every row
            population = population.remember(setup.sampler, _time(masked, process))
        for step in setup.steps:
            again = Step(step.start, step.end, (*step.key, setup.labels[self], visit))
            population = walk(population, [again])
            population = population.at(torch.where(kept, tokens, population.state))  # some samplers mask again
        return population


def _resting(setup: Setup) -> Setup:
    """The setup without filters, which would move particles between rows, and with records of its own.

    Chunks differ in their number of rounds, so records of what happens in one could not be joined.
    """
    members = [member for member in setup.members if Fact.WEIGHTS not in member.provides]
    denoise, propose, move = wrapped(members, setup.network)
    recorder = Recorder(setup.random.groups)
    return dataclasses.replace(setup, recorder=recorder, denoise=denoise, propose=propose, move=move)


@dataclasses.dataclass(frozen=True)
class Judged:
    """Sequences and what the verifier says of them.

    Args:
        tokens: (B, L).
        first, stop: (B,) span of the first violation, first = -1 without one.
        count: (B,) number of violations.
        score: (B,), zero without one.
    """

    tokens: Tensor
    first: Tensor
    stop: Tensor
    count: Tensor
    score: Tensor

    def or_better(self, other: Judged) -> Judged:
        """Row by row this one, or the other where it has fewer violations, or as many and a higher score."""
        better = (other.count < self.count) | ((other.count == self.count) & (other.score > self.score))
        return where(better, other, self)


def substitutions(
    part: Judged, log_probs: Tensor, span: Tensor, neighbours: int | None, tries: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The most probable substitutions of one token of a span, or of both tokens of a span of two, best first.

    Args:
        part: sequences and the spans of their violations.
        log_probs: (R, L, V) of the tokens given the rest of the sequence, nats.
        span: (R, L) bool, tokens that may be substituted.
        neighbours, tries: see `Reflection`.

    Returns:
        places and ids (R, N, 2) int64 with N <= tries, a single substitution being named twice, and the logarithm of
        how much more probable they make the span (R, N) float64, -inf where there is no further substitution.
    """
    old, (length, size) = part.tokens[..., None], log_probs.shape[1:]
    ids = torch.arange(size, device=old.device)
    gain = log_probs.double()
    gain = gain - gain.gather(-1, old).clamp_min(LEAST)
    closed = ~span[..., None] | (ids == old)
    if neighbours is not None:
        closed = closed | ((ids - old).abs() > neighbours)
    gain = gain.masked_fill(closed, -torch.inf)

    # The tables have one size for all rows, so that ties are broken alike whatever is repaired beside a row.
    single, index = gain.flatten(1).topk(min(tries, length * size))
    one = torch.stack([index // size, index % size], -1)[..., None].expand(-1, -1, -1, 2)  # (R, N, place and id, 2)
    ends = torch.stack([part.first, (part.first + 1).clamp_max(length - 1)], 1)
    top, token = gain.gather(1, ends[..., None].expand(-1, -1, size)).topk(min(tries, size))  # (R, 2, M)
    rank = torch.arange(1, top.shape[-1] + 1, device=old.device)
    a, b = (rank[:, None] * rank <= tries).nonzero().unbind(1)  # a pair of these ranks has a * b - 1 better ones
    double = (top[:, 0, a] + top[:, 1, b]).masked_fill((part.stop - part.first != 2)[:, None], -torch.inf)
    pairs = torch.stack([token[:, 0, a], token[:, 1, b]], -1)
    two = torch.stack([ends[:, None].expand_as(pairs), pairs], 2)
    value, top_pick = torch.cat([single, double], 1).topk(min(tries, single.shape[1] + double.shape[1]))
    edits = torch.cat([one, two], 1).gather(1, top_pick[..., None, None].expand(-1, -1, 2, 2))
    return edits[:, :, 0], edits[:, :, 1], value


def _between(first: Tensor, stop: Tensor, tokens: Tensor) -> Tensor:
    """Which positions of tokens (B, L) lie in half-open spans (B,)."""
    position = torch.arange(tokens.shape[1], device=tokens.device)
    return (position >= first[:, None]) & (position < stop[:, None])


def _real(tokens: Tensor, process: Any) -> Tensor:
    """Which tokens are no padding."""
    return torch.ones_like(tokens, dtype=torch.bool) if process.pinned is None else tokens != process.pinned


def _time(tokens: Tensor, process: Any) -> Tensor:
    """Time (B,) at which the expected share of masked tokens is that of each row."""
    masked, real = (tokens == process.mask_id).sum(1), _real(tokens, process).sum(1)
    return process.alpha.inverse(1 - masked.double() / real.clamp_min(1)).clamp(0, 1)
