"""Tokens drawn given that an automaton accepts them, fast: scaled messages over the arcs of the automaton.

The law is that of `guidekit.processes.automata.draw_accepted`. Messages are probabilities, scaled to a largest one of 1
at every place, in arrays (states, rows); nothing of size states x states x tokens is made. Rows whose draw passes a
state with a message below `FAINT` are drawn again in logarithms, so that no rule is too improbable to be kept.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.core.random import Draw, pick
from guidekit.processes.arcs import Arcs, Table, arcs_of
from guidekit.processes.automata import Automaton, draw_by_logs, log_normalizer

FAINT = 1e-250
ROOM = 1 << 24
"""Numbers of messages that are held for a part of the rows."""
PIECE = 1 << 15
"""Numbers that are worked on at once, few enough to stay near the processor."""


def draw_classed(
    automaton: Automaton, log_probs: Tensor, draw: Draw, known: Tensor | None = None, wanted: Tensor | None = None
) -> Tensor:
    """Tokens (B, L) given that the automaton accepts them, exactly; rows without such sequences are drawn freely.

    Args:
        automaton: over V tokens.
        log_probs: (B, L, V) of independent tokens, nats, need not be normalized.
        draw: numbers.
        known: (B, L) tokens that are certain, -1 elsewhere; their laws are not looked at.
        wanted: (B,) bool, rows to draw; tokens of the others are 0. None are all.
    """
    rows, length = log_probs.shape[:2]
    u, within = draw.uniform(rows, length), draw.named("within").uniform(rows, length)
    tokens = torch.zeros(rows, length, dtype=torch.int64, device=log_probs.device)
    known = tokens - 1 if known is None else known
    asked = torch.arange(rows, device=tokens.device) if wanted is None else wanted.nonzero()[:, 0]
    tail = _tail(known[asked])
    worked = _worked(known, tail)
    asked = asked[worked[asked].argsort(descending=True, stable=True)]
    for own in asked.split(_part(automaton, length)):
        tokens[own] = _drawn(automaton, log_probs[own], u[own], within[own], known[own], worked[own], tail)
    return tokens


def log_share(automaton: Automaton, log_probs: Tensor) -> Tensor:
    """`log_normalizer` of the automaton, (B,), with the work shared among tokens that are alike."""
    found = [_share(automaton, part) for part in log_probs.split(_part(automaton, log_probs.shape[1]))]
    return torch.cat(found)


def _share(automaton: Automaton, log_probs: Tensor) -> Tensor:
    arcs = _arcs(automaton).to(log_probs.device)
    laws = automaton.law(log_probs).double()
    chances = arcs.sums(_scaled(laws)).permute(1, 2, 0)
    unknown = torch.full(laws.shape[:2], -1, device=laws.device)
    scales: list[Tensor] = []
    left = _messages(automaton, arcs, chances, unknown, [len(laws)] * laws.shape[1], scales=scales)
    faint = torch.stack([torch.where(each > 0, each, 1.0).amin(0) for each in left]).amin(0) < FAINT
    first = left[0][0]
    share = first.log() + torch.stack(scales).log().sum(0) + laws.amax(-1).clamp_min(-1e300).sum(1)
    unsure = faint | (first <= 0)
    if unsure.any():
        share[unsure] = log_normalizer(automaton, log_probs[unsure])
    return share


def acceptable(automaton: Automaton, log_probs: Tensor) -> Tensor:
    """Which of the laws (B, L, V) leave anything that is accepted, (B,) bool."""
    arcs = _arcs(automaton).to(log_probs.device)
    found = []
    open_ones, same = torch.unique(automaton.law(log_probs) > -torch.inf, dim=0, return_inverse=True)
    for part in open_ones.split(_part(automaton, log_probs.shape[1])):
        kinds = arcs.sums(part.double()).clamp_max(1).permute(1, 2, 0)
        left = automaton.ends.to(part.device).double()[:, None].expand(-1, len(part))
        for place in range(part.shape[1] - 1, -1, -1):
            left = _flow(arcs.tables[_table(automaton, place)], left, kinds[place]).clamp_max(1)
        found.append(left[0] > 0)
    return torch.cat(found)[same]


def determined(automaton: Automaton, tokens: Tensor, free: Tensor) -> Tensor:
    """Tokens (B, L) with those filled in that the rule leaves no choice of; -1 where tokens are not known.

    Args:
        automaton: over V tokens.
        tokens: (B, L), -1 for any of the free ones.
        free: (V,) bool, what unknown tokens may be.
    """
    rows, inverse = torch.unique(tokens, dim=0, return_inverse=True)
    arcs = _arcs(automaton).to(tokens.device)
    ids = torch.arange(automaton.vocab_size, device=tokens.device)
    open_ones = torch.where(rows[..., None] < 0, free.to(tokens.device), rows[..., None] == ids)
    if automaton.places is not None:
        open_ones = open_ones & automaton.places.to(tokens.device)
    kinds = arcs.sums(open_ones.double()).clamp_max(1).permute(1, 2, 0)  # (L, K, B)
    left = [automaton.ends.to(tokens.device).double()[:, None].expand(-1, len(rows))]
    for place in range(rows.shape[1] - 1, -1, -1):
        left.append(_flow(arcs.tables[_table(automaton, place)], left[-1], kinds[place]).clamp_max(1))
    left.reverse()
    here = torch.zeros_like(left[0])
    here[0] = 1
    found = rows.clone()
    for place in range(rows.shape[1]):
        table = arcs.tables[_table(automaton, place)]
        flow = here[table.begin] * kinds[place][table.kind] * left[place + 1][table.end]
        passed = torch.zeros_like(kinds[place]).index_add_(0, table.kind, flow)
        can = passed[len(arcs.single) :].T @ arcs.member.T
        can[:, arcs.single] += passed[: len(arcs.single)].T
        can = (can > 0) & open_ones[:, place]
        found[:, place] = torch.where(can.sum(1) == 1, can.int().argmax(1), found[:, place])
        here = torch.zeros_like(here).index_add_(0, table.end, flow).clamp_max(1)
    return found[inverse]


@functools.lru_cache(maxsize=16)
def _arcs(automaton: Automaton) -> Arcs:
    return arcs_of(automaton)


def _part(automaton: Automaton, length: int) -> int:
    """Rows that are worked on together."""
    return max(1, ROOM // max(1, (length + 1) * automaton.size))


def _table(automaton: Automaton, place: int) -> int:
    return 0 if automaton.tables is None else int(automaton.tables[place])


def _tail(known: Tensor) -> int:
    """The token that ends the first of the rows (B, L) of known tokens that has a known end, -1 for none."""
    last = known[:, -1][known[:, -1] >= 0]
    return int(last[0]) if len(last) else -1


def _worked(known: Tensor, tail: int) -> Tensor:
    """Places (B,) of rows (B, L) of known tokens in front of a tail of nothing but that token."""
    ahead = (known != tail) | (known < 0)
    return ((torch.arange(known.shape[1], device=known.device) + 1) * ahead).amax(1)


def _drawn(
    automaton: Automaton, log_probs: Tensor, u: Tensor, within: Tensor, known: Tensor, worked: Tensor, tail: int
) -> Tensor:
    """See `draw_classed`, of a part of the rows, those with the most places in front of the tail first."""
    arcs, unknown = _arcs(automaton).to(log_probs.device), known < 0
    active = (worked[:, None] > torch.arange(u.shape[1], device=u.device)).sum(0).tolist()  # rows at each place
    length = int(worked[0])
    allowed = None if automaton.places is None else automaton.places.to(u.device)
    free = log_probs[unknown]  # (N, V)
    if allowed is not None:
        free = free.masked_fill(~allowed.expand(len(u), -1, -1)[unknown], -torch.inf)
    chances = _chances(arcs, free, unknown[:, :length])  # (L, K, B)
    tails = _tails(automaton, tail, u.shape[1], u.device) if tail >= 0 else ()
    left = _messages(automaton, arcs, chances, known, active[:length], tails)
    state = torch.zeros(len(u), dtype=torch.int64, device=u.device)
    sure = left[0][0] > FAINT
    kinds = torch.zeros_like(known)
    for place in range(length):
        rows, table = slice(0, active[place]), arcs.tables[_table(automaton, place)]
        behind = left[place + 1][:, rows]
        options = table.leaving[state[rows]].T  # (D, B)
        none, arc = options == len(table.begin), options.clamp_max(max(0, len(table.begin) - 1))
        end, kind = table.end[arc], table.kind[arc]
        weights = chances[place][:, rows].gather(0, kind) * behind.gather(0, end)
        cdf = weights.masked_fill(none, 0.0).cumsum(0)
        point = torch.minimum(u[rows, place] * cdf[-1], torch.nextafter(cdf[-1], torch.zeros_like(cdf[-1])))
        chosen = (cdf <= point).sum(0).clamp_max(len(cdf) - 1)[None]
        given = known[rows, place]
        fixed = automaton.at(place).to(u.device)[state[rows], given.clamp_min(0)].clamp_min(0)
        state[rows] = torch.where(given < 0, end.gather(0, chosen)[0], fixed)
        kinds[rows, place] = kind.gather(0, chosen)[0]
        sure[rows] &= behind.gather(0, state[None, rows])[0] > FAINT
    tokens = known.clone()
    tokens[unknown] = _tokens(arcs, kinds[unknown], free, within[unknown])
    if not sure.all():
        certain = torch.nn.functional.one_hot(known[~sure].clamp_min(0), log_probs.shape[-1]).double().log()
        laws = torch.where(unknown[~sure][..., None], log_probs[~sure].double(), certain)
        tokens[~sure] = draw_by_logs(automaton, laws, u[~sure])
    return tokens


def _scaled(law: Tensor) -> Tensor:
    """Probabilities (..., V) of log-probabilities, of which the largest is 1, as exact as they are given."""
    return (law - law.amax(-1, keepdim=True).clamp_min(-1e30)).exp()


def _chances(arcs: Arcs, free: Tensor, unknown: Tensor) -> Tensor:
    """Probabilities (L, K, B) of kinds of tokens, of which the largest token of a place has 1; 0 where one is known."""
    laws = torch.zeros(*unknown.shape, arcs.kinds, dtype=torch.float64, device=unknown.device)
    laws[unknown] = arcs.sums(_scaled(free))
    return laws.permute(1, 2, 0).contiguous()


def _messages(
    automaton: Automaton,
    arcs: Arcs,
    chances: Tensor,
    known: Tensor,
    active: Sequence[int],
    tails: Sequence[Tensor] = (),
    scales: list[Tensor] | None = None,
) -> list[Tensor]:
    """Probabilities (Q, B) that what is left is accepted from each state, for places 0 .. L, each scaled to most 1.

    Args:
        automaton, arcs: the rule.
        chances: (L, K, B) of kinds of tokens, where tokens are not known.
        known: (B, L) tokens, -1 where they are not.
        active: rows at each place; those behind have nothing but the tail from there on.
        tails: messages (Q, 1) at places 0 .. L of rows that are not active; none where all always are.
        scales: the numbers (B,) that messages were divided by are added here.
    """
    length, _, rows = chances.shape
    tails = tails or [automaton.ends.to(chances.device).double()[:, None]] * (length + 1)
    left = tails[length].expand(-1, active[-1] if length else rows)
    found = [left]
    for place in range(length - 1, -1, -1):
        left = _before(automaton, arcs, left, chances[place, :, : active[place]], known[: active[place], place], place)
        most = left.amax(0)
        most = torch.where(most > 0, most, 1.0)
        left = left / most
        if scales is not None:
            scales.append(most)
        more = (active[place - 1] if place else rows) - active[place]
        if more:
            left = torch.cat([left, tails[place].expand(-1, more)], 1)
        found.append(left)
    return found[::-1]


def _before(automaton: Automaton, arcs: Arcs, left: Tensor, chances: Tensor, known: Tensor, place: int) -> Tensor:
    """Messages (Q, B) in front of a place, given those behind it and the tokens (B,) that are known there."""
    table = arcs.tables[_table(automaton, place)]
    told = known >= 0
    if not told.any():
        return _flow(table, left, chances)
    found, tokens = torch.empty_like(left, memory_format=torch.contiguous_format), known[told]
    after = automaton.at(place).to(left.device)[:, tokens]
    behind = torch.where(after < 0, 0.0, left[:, told].gather(0, after.clamp_min(0)))
    if automaton.places is not None:
        behind = behind * automaton.places.to(left.device)[place, tokens]
    found[:, told] = behind
    if not told.all():
        found[:, ~told] = _flow(table, left[:, ~told], chances[:, ~told])
    return found


@functools.lru_cache(maxsize=16)
def _tails(automaton: Automaton, token: int, length: int, device: torch.device) -> list[Tensor]:
    """Messages (Q, 1) at places 0 .. L where one token alone comes from there on."""
    arcs = _arcs(automaton).to(device)
    found, law = [automaton.ends.to(device).double()[:, None]], arcs.of_tokens(torch.tensor([token], device=device)).T
    for place in range(length - 1, -1, -1):
        good = automaton.places is None or bool(automaton.places[place, token])
        found.append(_flow(arcs.tables[_table(automaton, place)], found[-1], good * law))
    return found[::-1]


def _flow(table: Table, left: Tensor, chances: Tensor) -> Tensor:
    """Sum over arcs of the probability (K, B) of their tokens and the message (Q, B) behind them, (Q, B)."""
    found = torch.zeros(len(left), chances.shape[1], dtype=left.dtype, device=left.device)
    few = max(1, PIECE // max(1, chances.shape[1]))
    for start in range(0, len(table.begin), few):
        part = slice(start, start + few)
        passed = left.index_select(0, table.end[part]).mul_(chances.index_select(0, table.kind[part]))
        found.index_add_(0, table.begin[part], passed)
    return found


def _tokens(arcs: Arcs, kinds: Tensor, free: Tensor, within: Tensor) -> Tensor:
    """Tokens (N,) of kinds (N,), each by its law (N, V) within the kind."""
    alone = len(arcs.single)
    found = torch.zeros_like(kinds)
    if alone:
        found = arcs.single[kinds.clamp_max(alone - 1)]
    several = kinds >= alone
    if several.any():
        own = arcs.member.T[kinds[several] - alone] > 0
        law = free[several].double().masked_fill(~own, -torch.inf)
        empty = law.amax(-1, keepdim=True) == -torch.inf  # only in rows that are drawn again
        found[several] = pick(torch.where(empty, 0.0, law), within[several])
    return found


__all__ = ["acceptable", "determined", "draw_classed", "log_share"]
