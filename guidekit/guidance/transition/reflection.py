"""Reflection: find where a finished sequence breaks a rule, repair it, pin the repair, sample what follows again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError, wrap
from guidekit.core.population import Population
from guidekit.core.run import Run
from guidekit.core.state import State, take, put, where
from guidekit.objectives.rewards import score
from guidekit.objectives.verifiers import Verifier, verify, violations
from guidekit.processes import Masked

LEAST = -50.0
"""Log-probability taken for a token to be replaced that the model thinks impossible, nats."""


@dataclasses.dataclass(frozen=True)
class Reflection(Guidance):
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
        score: clean tokens (B, L) -> (B,), nats, higher is better: minus a cost over a temperature. Optional.

    Source: reconstructed from the abstract of ReflectDrive, arXiv:2509.20109; giving up tokens before a dead end is
    ours.
    """

    verifier: Verifier
    rounds: int = 32
    window: int | None = None
    neighbours: int | None = None
    tries: int = 256
    score: Callable[..., Tensor] | None = None

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        for name, least in (("rounds", 0), ("window", 0), ("neighbours", 1), ("tries", 1)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= least):
                raise ValueError(f"{name}={value!r}; a whole number of at least {least} is needed")

    def check(self, run: Run) -> None:
        """Tokens must be masked again, and those revealed must stay."""
        process = run.prior.process
        if not isinstance(process, Masked):
            raise GuidanceError(
                f"Reflection masks tokens again, and this prior ({run.prior.name}) has a {type(process).__name__} "
                "process: use a prior with a Masked one"
            )

    def finish(self, population: Population, run: Run) -> Population:
        """See `Guidance.finish`."""
        now = best = self._judge(population.state, run)
        broken, work = now.first >= 0, population
        stuck = taken = torch.zeros_like(now.first)
        # Rounds have draws of their own: steps behind those of the loop and of reflections inside this one.
        before = sum(plug.rounds for plug in run.plugs[: run.position(self)] if isinstance(plug, Reflection))
        step, info = run.step, run.info
        run.info = {}  # other plugs' records of a round are dropped: chunks differ in their number of rounds
        for i in range(self.rounds):
            rows = (now.first >= 0).nonzero()[:, 0]
            if len(rows) == 0:
                break
            run.step = step + (before + i) * (len(run.grid) - 1)
            part = take(now, rows)
            condition = None if population.condition is None else take(population.condition, rows)
            repaired, helped = self._repair(part, condition, run)
            pinned = self._pinned(part, helped, stuck[rows], run)
            work = self._sample_on(work, put(now.tokens, rows, repaired), rows, pinned)
            fresh = self._judge(work.state[rows], run)
            now, best = put(now, rows, fresh), put(best, rows, take(best, rows).or_better(fresh))
            stuck = put(stuck, rows, stuck[rows] + (~helped).long())
            taken = put(taken, rows, taken[rows] + 1)
        run.step, run.info = step, info
        shape = (population.groups, population.particles)
        run.record("violations before", broken.view(shape).sum(1))
        run.record("violations after", (best.first >= 0).view(shape).sum(1))
        run.record("rounds", taken.view(shape).amax(1))
        return population.advance(best.tokens)

    def _judge(self, tokens: Tensor, run: Run) -> Judged:
        first, stop = verify(self.verifier, tokens)
        values = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
        if self.score is not None:
            values = score(self.score, tokens, run.ledger)
        return Judged(tokens, first, stop, violations(self.verifier, tokens, first), values)

    def _repair(self, part: Judged, condition: State | None, run: Run) -> tuple[Tensor, Tensor]:
        """Tokens (R, L) with the best substitution that the verifier accepts, and where (R,) there is one."""
        process = run.prior.process
        span = _between(part.first, part.stop, part.tokens) & _real(part.tokens, process)
        asked = part.tokens.masked_fill(span, process.mask_id)
        log_probs = run.denoise(asked, _time(asked, process), condition).log_probs
        places, ids, gains = substitutions(part, log_probs, span, self.neighbours, self.tries)
        repaired, best = part.tokens.clone(), torch.full_like(gains[:, 0], -torch.inf)
        for place, token, gain in zip(places.unbind(1), ids.unbind(1), gains.unbind(1), strict=True):
            # Gains fall, so that without a score nothing behind the first repair can be better.
            wanted = gain.isfinite() if self.score is not None else gain > best
            rows = wanted.nonzero()[:, 0]
            if len(rows) == 0:
                break
            tried = part.tokens[rows].scatter(1, place[rows], token[rows])
            first, _ = verify(self.verifier, tried)
            right = (first < 0) | (first >= part.stop[rows])
            rows, tried = rows[right], tried[right]
            value = gain[rows] if self.score is None else gain[rows] + score(self.score, tried, run.ledger)
            better = value > best[rows]
            best[rows[better]], repaired[rows[better]] = value[better], tried[better]
        return repaired, best.isfinite()

    def _pinned(self, part: Judged, helped: Tensor, stuck: Tensor, run: Run) -> Tensor:
        """Tokens (R, L) that are not sampled again; stuck (R,) is in how many rounds before nothing helped."""
        length = part.tokens.shape[1]
        back = (part.stop - part.first) << stuck.clamp_max(30)
        begin = torch.where(helped, part.stop, part.first - back)
        end = part.stop + (length if self.window is None else self.window)
        return ~(_between(begin, end, part.tokens) & _real(part.tokens, run.prior.process))

    def _sample_on(self, population: Population, tokens: Tensor, rows: Tensor, pinned: Tensor) -> Population:
        """The population at tokens (B, L), in some rows those not pinned (R, L) sampled again by the run's own loop."""
        run, process = population.run, population.run.prior.process
        kept = torch.ones_like(tokens, dtype=torch.bool).index_copy(0, rows, pinned)
        population = population.advance(tokens.masked_fill(~kept, process.mask_id))
        if "time" in population.memory:  # of samplers in which every particle has its own
            population = population.remember(time=_time(population.state, process))
        # Filters would move particles between rows; everything else acts as it did before.
        move = wrap("move", [plug for plug in run.plugs if not plug.reorders], run._move)
        for t, u in pairwise(run.grid):
            run.step += 1
            population = move(population, t, u)
            population = population.advance(torch.where(kept, tokens, population.state))  # some samplers mask again
        return population


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
    value, pick = torch.cat([single, double], 1).topk(min(tries, single.shape[1] + double.shape[1]))
    edits = torch.cat([one, two], 1).gather(1, pick[..., None, None].expand(-1, -1, 2, 2))
    return edits[:, :, 0], edits[:, :, 1], value


def _between(first: Tensor, stop: Tensor, tokens: Tensor) -> Tensor:
    """Which positions of tokens (B, L) lie in half-open spans (B,)."""
    position = torch.arange(tokens.shape[1], device=tokens.device)
    return (position >= first[:, None]) & (position < stop[:, None])


def _real(tokens: Tensor, process: Masked) -> Tensor:
    """Which tokens are no padding."""
    return torch.ones_like(tokens, dtype=torch.bool) if process.pinned is None else tokens != process.pinned


def _time(tokens: Tensor, process: Masked) -> Tensor:
    """Time (B,) at which the expected share of masked tokens is that of each row."""
    masked, real = (tokens == process.mask_id).sum(1), _real(tokens, process).sum(1)
    return process.survival.inverse(1 - masked.double() / real.clamp_min(1)).clamp(0, 1)
