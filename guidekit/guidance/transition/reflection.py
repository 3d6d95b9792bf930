"""Reflection: find what is wrong in a finished sequence, repair it, pin the repair, sample the rest again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import combinations, pairwise

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError, wrap
from guidekit.core.population import Population
from guidekit.core.run import Run
from guidekit.core.state import tree_index, tree_put, tree_where
from guidekit.objectives.rewards import score
from guidekit.objectives.verifiers import Verifier, verify, violations
from guidekit.processes import Masked

LEAST = -50.0
"""Log-probability below which a token that is to be replaced counts as impossible, nats."""
WAVE = 8
"""Substitutions of a row that are verified together."""
TABLE = 1 << 22
"""Most numbers in a table of substitutions; larger ones are made for a part of the rows."""


@dataclasses.dataclass(frozen=True)
class Reflection(Guidance):
    """Verifies finished sequences and, where one breaks a rule, repeats: repair the first violation, sample the rest.

    A round, for the rows with a violation (the others stay as they are):
      1. The span of the first violation is masked and the model is asked for its tokens: one network row.
      2. Substitutions of one or two tokens of the span are tried in the order of their probability under the model;
         the first after which the verifier sees nothing up to the end of the span is taken. With `score`, the one of
         largest log-probability + score among all that are tried.
      3. The repaired span is pinned, and so is all before it ("prefix") or all but `window` tokens after it ("rest").
         Where nothing helps, the span and as many tokens before it are given up instead, twice as many each time.
      4. All other tokens are masked and sampled again by the run's own sampler and guidance.
    It ends with the verifier's consent or after `rounds`, and then hands back the best sequence seen, before or after
    sampling the rest: fewest violations, then highest score, then the latest first violation. Rows without a violation
    are those of the unguided sampler, bit for bit. Repaired ones are no draws from the prior given that the rule holds.
    Particle filters do not act while tokens are sampled again, and weights are left as they are.

    Args:
        verifier: see `guidekit.objectives.verifiers`.
        rounds: most rounds; 0 only counts violations.
        keep: "prefix", or "rest" for rules whose repair leaves what follows alone.
        window: tokens behind the anchor that "rest" samples again; 0 is local repair without sampling.
        neighbours: ids are positions on a scale, and a token may move by at most this much; None allows all ids.
        pairs: two tokens are substituted at once in spans of at most this many tokens; 0 is never.
        tries: most substitutions verified a row and round.
        score: clean tokens (B, L) -> (B,), nats, higher is better: minus a cost over a temperature. Optional.

    Source: after ReflectDrive, arXiv:2509.20109 (its code is not public); giving up tokens before a dead end is ours.
    """

    verifier: Verifier
    rounds: int = 8
    keep: str = "prefix"
    window: int = 16
    neighbours: int | None = None
    pairs: int = 2
    tries: int = 64
    score: Callable[..., Tensor] | None = None

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if self.keep not in ("prefix", "rest"):
            raise ValueError(f"keep={self.keep!r}; accepted: prefix, rest")
        for name, least in (("rounds", 0), ("window", 0), ("neighbours", 1), ("pairs", 0), ("tries", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}={value}; it is at least {least}")

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
        work = population
        broken = now.first >= 0
        stuck = taken = torch.zeros_like(now.first)
        # Steps after the last of the loop, and after those of the reflections inside this one: draws of their own.
        before = sum(plug.rounds for plug in run.plugs[: run.position(self)] if isinstance(plug, Reflection))
        step, info = run.step, run.info
        run.info = {}  # what other plugs record a second time would differ in number between chunks
        for i in range(self.rounds):
            rows = (now.first >= 0).nonzero()[:, 0]
            if len(rows) == 0:
                break
            run.step = step + (before + i) * (len(run.grid) - 1)
            anchored, pinned, found = self._anchor(now, rows, stuck[rows], work)
            work = self._regenerate(work, anchored, pinned)
            fresh = self._judge(work.state[rows], run)
            kept = tree_index(best, rows).or_better(self._judge(anchored[rows], run))
            right = fresh.first < 0  # of two that are right and equally good, what the model has finished
            best = tree_put(best, rows, tree_where(right, fresh.or_better(kept), kept.or_better(fresh)))
            now = tree_put(now, rows, fresh)
            stuck = stuck.index_copy(0, rows, torch.where(found, 0, stuck[rows] + 1))
            taken = taken.index_add(0, rows, torch.ones_like(rows))
        run.step, run.info = step, info
        shape = (population.groups, population.particles)
        run.record("violations before", broken.view(shape).sum(1))
        run.record("violations after", (best.first >= 0).view(shape).sum(1))
        run.record("rounds", taken.view(shape).amax(1))
        return population if torch.equal(best.tokens, population.state) else population.advance(best.tokens)

    def _judge(self, tokens: Tensor, run: Run) -> Judged:
        first, stop = verify(self.verifier, tokens)
        values = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
        if self.score is not None:
            values = score(self.score, tokens, run.ledger)
        return Judged(tokens, first, stop, violations(self.verifier, tokens, first), values)

    def _anchor(
        self, now: Judged, rows: Tensor, stuck: Tensor, population: Population
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All tokens with the violating rows repaired (B, L), which of them are pinned, and which rows (R,) worked."""
        run = population.run
        process, part = run.prior.process, tree_index(now, rows)
        first, stop = part.first[:, None], part.stop[:, None]
        position = torch.arange(now.tokens.shape[1], device=now.tokens.device)
        real = torch.ones_like(part.tokens, dtype=torch.bool)
        if process.pinned is not None:
            real = part.tokens != process.pinned
        span = real & (position >= first) & (position < stop)
        asked = part.tokens.masked_fill(span, process.mask_id)
        condition = None if population.condition is None else tree_index(population.condition, rows)
        log_probs = run.denoise(asked, self._time(asked, run), condition).log_probs
        repaired, found = self._repair(part, log_probs, span, run)
        # Where nothing helped, the search backs out of the dead end.
        back = ((part.stop - part.first) << stuck.clamp_max(30))[:, None]
        end = torch.full_like(stop, len(position))
        if self.keep == "rest":
            end = stop + torch.where(found[:, None], self.window, back.clamp_min(self.window))
        begin = torch.where(found[:, None], stop, first - back)
        pinned = torch.ones_like(now.tokens, dtype=torch.bool)
        pinned[rows] = ~(real & (position >= begin) & (position < end))
        return now.tokens.index_copy(0, rows, repaired), pinned, found

    def _time(self, z: Tensor, run: Run) -> Tensor:
        """Time (B,) at which the expected share of masked tokens is that of each row."""
        process = run.prior.process
        size = z.shape[1] if process.pinned is None else (z != process.pinned).sum(1).clamp_min(1)
        return process.survival.inverse(1 - (z == process.mask_id).sum(1).double() / size).clamp(0, 1)

    def _repair(self, part: Judged, log_probs: Tensor, span: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """Tokens (R, L) with the best substitution made, and where (R,) there was one."""
        tokens = part.tokens.clone()
        found = torch.zeros_like(part.first, dtype=torch.bool)
        width = int((part.stop - part.first).amax())
        numbers = width * log_probs.shape[-1] + 4 * self.pairs**2 * self.tries
        for cut in torch.arange(len(tokens), device=tokens.device).split(max(1, TABLE // numbers)):
            edits = substitutions(
                tree_index(part, cut), log_probs[cut], span[cut], self.neighbours, self.pairs, self.tries
            )
            tokens[cut], found[cut] = self._best(tree_index(part, cut), *edits, run)
        return tokens, found

    def _best(self, part: Judged, places: Tensor, ids: Tensor, log_ratios: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """Tokens (R, L) with the best of the given substitutions (R, N, 2) that the verifier accepts, and where."""
        tokens, size = part.tokens.clone(), places.shape[1]
        best = torch.full((len(tokens),), -torch.inf, dtype=torch.float64, device=tokens.device)
        for begin in range(0, size, WAVE):
            open_ = log_ratios[:, begin].isfinite()  # sorted: none behind this one
            if self.score is None:
                open_ &= best.isneginf()
            rows, wave = open_.nonzero()[:, 0], slice(begin, min(begin + WAVE, size))
            if len(rows) == 0:
                break
            value = log_ratios[rows, wave]
            times = value.shape[1]
            tried = part.tokens[rows].repeat_interleave(times, 0)
            tried.scatter_(1, places[rows, wave].reshape(-1, 2), ids[rows, wave].reshape(-1, 2))
            first, _ = verify(self.verifier, tried)
            right = ((first < 0) | (first >= part.stop[rows].repeat_interleave(times))).view_as(value)
            right &= value.isfinite()
            if self.score is not None and right.any():
                scored = torch.full_like(value, -torch.inf)
                scored[right] = score(self.score, tried[right.flatten()], run.ledger)
                value = value + scored
            value = value.masked_fill(~right, -torch.inf)
            chosen = value.argmax(1)
            value = value.gather(1, chosen[:, None])[:, 0]
            better = value > best[rows]
            taken = tried.view(len(rows), times, -1)[torch.arange(len(rows), device=rows.device), chosen]
            best[rows] = torch.where(better, value, best[rows])
            tokens[rows] = torch.where(better[:, None], taken, tokens[rows])
        return tokens, best.isfinite()

    def _regenerate(self, population: Population, tokens: Tensor, pinned: Tensor) -> Population:
        """The population at tokens (B, L), with those not pinned masked and sampled again by the run's loop."""
        run = population.run
        state = tokens.masked_fill(~pinned, run.prior.process.mask_id)
        if "time" in population.memory:  # of samplers in which every particle has its own
            time = torch.where(pinned.all(1), population.memory["time"], self._time(state, run))
            population = population.remember(time=time)
        population = population.advance(state)
        # Filters would move particles between rows; everything else acts as it did before.
        move = wrap("move", [plug for plug in run.plugs if not plug.reorders], run._move)
        for t, u in pairwise(run.grid):
            run.step += 1
            population = move(population, t, u)
            if ((population.state != tokens) & pinned).any():  # a sampler that masks tokens again
                population = population.advance(torch.where(pinned, tokens, population.state))
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
        """Row by row this one, or the other where that is better."""
        better = torch.zeros_like(self.first, dtype=torch.bool)
        equal = ~better
        for mine, theirs in ((-self.count, -other.count), (self.score, other.score), (self.first, other.first)):
            better |= equal & (theirs > mine)
            equal &= mine == theirs
        return tree_where(better, other, self)


def substitutions(
    part: Judged, log_probs: Tensor, span: Tensor, neighbours: int | None, pairs: int, tries: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The most probable substitutions of one or two tokens of a span, best first.

    Args:
        part: sequences and the spans of their violations.
        log_probs: (R, L, V) of the tokens given the rest of the sequence, nats.
        span: (R, L) bool, tokens that may be substituted.
        neighbours, pairs, tries: see `Reflection`.

    Returns:
        places and ids (R, N, 2) int64 with N <= tries, a single substitution being named twice, and the logarithm of
        how much more probable they make the span (R, N) float64, -inf where there is no further substitution.
    """
    size, width = log_probs.shape[-1], int((part.stop - part.first).amax())
    at = part.first[:, None] + torch.arange(width, device=span.device)
    inside = at < part.stop[:, None]
    at = at.clamp_max(span.shape[1] - 1)
    inside &= span.gather(1, at)
    old = part.tokens.gather(1, at)[..., None]
    table = log_probs.double().gather(1, at[..., None].expand(-1, -1, size))
    gain = table - table.gather(-1, old).clamp_min(LEAST)
    ids = torch.arange(size, device=span.device)
    closed = ~inside[..., None] | (ids == old)
    if neighbours is not None:
        closed = closed | ((ids - old).abs() > neighbours)
    gain = gain.masked_fill(closed, -torch.inf)

    rows = len(gain)
    values = [gain.flatten(1)]
    places = [at.repeat_interleave(size, 1)[..., None].expand(-1, -1, 2)]
    tokens = [ids.repeat(rows, width)[..., None].expand(-1, -1, 2)]
    small = ((part.stop - part.first) <= pairs)[:, None]
    # Of the N best pairs of two sorted lists every one has ranks whose product is at most N.
    ranks = [(a, b) for a in range(min(tries, size)) for b in range(min(tries // (a + 1), size))]
    a, b = torch.tensor(ranks, device=span.device).unbind(1)
    order = gain.argsort(dim=-1, descending=True, stable=True)
    for i, j in combinations(range(min(width, pairs)), 2):
        left, right = order[:, i, a], order[:, j, b]
        both = gain[:, i].gather(1, left) + gain[:, j].gather(1, right)
        values.append(both.masked_fill(~small, -torch.inf))
        places.append(at[:, None, [i, j]].expand(-1, len(a), -1))
        tokens.append(torch.stack([left, right], -1))
    value = torch.cat(values, 1)
    top = value.argsort(dim=1, descending=True, stable=True)[:, :tries]  # stable: ties do not depend on the batch
    pick = top[..., None].expand(-1, -1, 2)
    return torch.cat(places, 1).gather(1, pick), torch.cat(tokens, 1).gather(1, pick), value.gather(1, top)
