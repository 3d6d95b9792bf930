"""Tokens drawn given that an automaton accepts them, fast: scaled messages over classes of tokens, edges that exist.

The law is that of `guidekit.processes.automata.draw_accepted`. Messages are probabilities, scaled to a largest one of 1
at every place, in arrays (states, rows); nothing of size states x states x tokens is made. Rows whose draw passes a
state with a message below `FAINT` are drawn again in logarithms, so that no rule is too improbable to be kept.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.random import Draw, pick
from guidekit.processes.automata import Automaton, draw_by_logs, log_normalizer

FAINT = 1e-250
COMMON = 0.3
"""Share of the states that allow a class of tokens from which on all states are gone through at once."""
ROOM = 1 << 24
"""Numbers of messages that are held for a part of the rows."""


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
    asked = torch.arange(rows, device=tokens.device) if wanted is None else wanted.nonzero()[:, 0]
    for own in asked.split(_part(automaton, length)):
        certain = None if known is None else known[own]
        tokens[own] = _drawn(automaton, log_probs[own], u[own], within[own], certain)
    return tokens


def log_share(automaton: Automaton, log_probs: Tensor) -> Tensor:
    """`log_normalizer` of the automaton, (B,), with the work shared among tokens that are alike."""
    found = [_share(automaton, part) for part in log_probs.split(_part(automaton, log_probs.shape[1]))]
    return torch.cat(found)


def _share(automaton: Automaton, log_probs: Tensor) -> Tensor:
    unknown = torch.ones(log_probs.shape[:2], dtype=torch.bool, device=log_probs.device)
    of_token, moves = (each.to(log_probs.device) for each in automaton.classes)
    laws = automaton.law(log_probs).double()
    chances = _chances(automaton, laws[unknown], unknown, None, of_token, None)
    scales: list[Tensor] = []
    left = _messages(automaton, moves, chances, scales)
    faint = torch.stack([torch.where(each > 0, each, 1.0).amin(0) for each in left]).amin(0) < FAINT
    first = left[0][0]
    share = first.log() + torch.stack(scales).log().sum(0) + laws.amax(-1).clamp_min(-1e300).sum(1)
    unsure = faint | (first <= 0)
    if unsure.any():
        share[unsure] = log_normalizer(automaton, log_probs[unsure])
    return share


def acceptable(automaton: Automaton, log_probs: Tensor) -> Tensor:
    """Which of the laws (B, L, V) leave anything that is accepted, (B,) bool."""
    of_token, moves = (each.to(log_probs.device) for each in automaton.classes)
    edges, found = [_edges(table) for table in moves], []
    for part in log_probs.split(_part(automaton, log_probs.shape[1])):
        open_ones = automaton.law(part) > -torch.inf
        left = automaton.ends.to(part.device)[:, None].expand(-1, len(part)).int()
        for place in range(part.shape[1] - 1, -1, -1):
            begin, token, end = edges[_table(automaton, place)]
            kinds = torch.zeros(len(part), moves.shape[-1], dtype=torch.int32, device=part.device)
            kinds = kinds.index_add(1, of_token, open_ones[:, place].int()).T.clamp_max(1)
            left = torch.zeros_like(left).index_add(0, begin, left[end] * kinds[token]).clamp_max(1)
        found.append(left[0] > 0)
    return torch.cat(found)


def determined(automaton: Automaton, tokens: Tensor, free: Tensor) -> Tensor:
    """Tokens (B, L) with those filled in that the rule leaves no choice of; -1 where tokens are not known.

    Args:
        automaton: over V tokens.
        tokens: (B, L), -1 for any of the free ones.
        free: (V,) bool, what unknown tokens may be.
    """
    rows, inverse = torch.unique(tokens, dim=0, return_inverse=True)
    of_token, moves = (each.to(tokens.device) for each in automaton.classes)
    edges = [_edges(table) for table in moves]
    ids = torch.arange(automaton.vocab_size, device=tokens.device)
    open_ones = torch.where(rows[..., None] < 0, free.to(tokens.device), rows[..., None] == ids)
    if automaton.places is not None:
        open_ones = open_ones & automaton.places.to(tokens.device)
    kinds = torch.zeros(*rows.shape, moves.shape[-1], dtype=torch.int32, device=tokens.device)
    kinds = kinds.index_add(2, of_token, open_ones.int()).clamp_max(1).permute(1, 2, 0)  # (L, C, B)
    left = [automaton.ends.to(tokens.device)[:, None].expand(-1, len(rows)).int()]
    for place in range(rows.shape[1] - 1, -1, -1):
        begin, token, end = edges[_table(automaton, place)]
        flow = left[-1][end] * kinds[place][token]
        left.append(torch.zeros_like(left[-1]).index_add(0, begin, flow).clamp_max(1))
    left.reverse()
    here = torch.zeros_like(left[0])
    here[0] = 1
    found = rows.clone()
    for place in range(rows.shape[1]):
        begin, token, end = edges[_table(automaton, place)]
        flow = here[begin] * kinds[place][token] * left[place + 1][end]
        can = torch.zeros_like(kinds[place]).index_add(0, token, flow)[of_token].T > 0
        can &= open_ones[:, place]
        single = can.sum(1) == 1
        found[:, place] = torch.where(single, can.int().argmax(1), found[:, place])
        here = torch.zeros_like(here).index_add(0, end, flow).clamp_max(1)
    return found[inverse]


def _part(automaton: Automaton, length: int) -> int:
    """Rows that are worked on together."""
    return max(1, ROOM // max(1, (length + 1) * automaton.size))


def _drawn(automaton: Automaton, log_probs: Tensor, u: Tensor, within: Tensor, known: Tensor | None) -> Tensor:
    """See `draw_classed`, of a part of the rows."""
    of_token, moves = (each.to(log_probs.device) for each in automaton.classes)
    unknown = torch.ones_like(u, dtype=torch.bool) if known is None else known < 0
    allowed = None if automaton.places is None else automaton.places.to(u.device)
    free = log_probs[unknown]  # (N, V)
    if allowed is not None:
        free = free.masked_fill(~allowed.expand(len(u), -1, -1)[unknown], -torch.inf)
    chances = _chances(automaton, free, unknown, known, of_token, allowed)  # (L, C, B)
    left = _messages(automaton, moves, chances)
    state = torch.zeros(len(u), dtype=torch.int64, device=u.device)
    sure = left[0][0] > FAINT
    picked = []
    for place in range(u.shape[1]):
        options = moves[_table(automaton, place)][state].T  # (C, B)
        ahead = left[place + 1].gather(0, options.clamp_min(0)).masked_fill(options < 0, 0.0)
        cdf = (chances[place] * ahead).cumsum(0)
        point = torch.minimum(u[:, place] * cdf[-1], torch.nextafter(cdf[-1], torch.zeros_like(cdf[-1])))
        chosen = (cdf <= point).sum(0).clamp_max(len(cdf) - 1)
        state = options.gather(0, chosen[None])[0].clamp_min(0)
        sure &= left[place + 1].gather(0, state[None])[0] > FAINT
        picked.append(chosen)
    tokens = _tokens(torch.stack(picked, 1), of_token, free, unknown, within, known)
    if not sure.all():
        laws = log_probs[~sure]
        if known is not None:
            certain = torch.nn.functional.one_hot(known[~sure].clamp_min(0), laws.shape[-1]).double().log()
            laws = torch.where(unknown[~sure][..., None], laws.double(), certain)
        tokens[~sure] = draw_by_logs(automaton, laws, u[~sure])
    return tokens


def _table(automaton: Automaton, place: int) -> int:
    return 0 if automaton.tables is None else int(automaton.tables[place])


def _chances(
    automaton: Automaton, free: Tensor, unknown: Tensor, known: Tensor | None, of_token: Tensor, allowed: Tensor | None
) -> Tensor:
    """Probabilities (L, C, B) of classes of tokens, of which the largest token of a place has about 1."""
    rows, length = unknown.shape
    count = automaton.classes[1].shape[-1]
    free = free.double()
    probs = (free - free.amax(-1, keepdim=True).clamp_min(-1e300)).exp()
    if count < automaton.vocab_size:
        member = torch.zeros(automaton.vocab_size, count, dtype=probs.dtype, device=probs.device)
        member[torch.arange(automaton.vocab_size), of_token] = 1.0
        probs = probs @ member
    laws = torch.zeros(rows, length, count, dtype=torch.float64, device=probs.device)
    laws[unknown] = probs
    if known is not None:
        tokens = known.clamp_min(0)
        good = torch.ones_like(tokens, dtype=torch.bool) if allowed is None else allowed.gather(1, tokens.T).T
        certain = (good & ~unknown).double()[..., None]
        laws = laws.scatter_add(-1, of_token[tokens][..., None], certain)
    return laws.permute(1, 2, 0).contiguous()


def _messages(automaton: Automaton, moves: Tensor, chances: Tensor, scales: list[Tensor] | None = None) -> list[Tensor]:
    """Probabilities (Q, B) that what is left is accepted from each state, for places 0 .. L, each scaled to most 1.

    The numbers (B,) that messages were divided by are added to `scales`.
    """
    edges = [_routes(table) for table in moves]
    length, _, rows = chances.shape
    left = automaton.ends.to(chances.device).double()[:, None].expand(-1, rows).contiguous()
    found = [left]
    for place in range(length - 1, -1, -1):
        left = _flow(edges[_table(automaton, place)], left, chances[place])
        most = left.amax(0)
        most = torch.where(most > 0, most, 1.0)
        left = left / most
        if scales is not None:
            scales.append(most)
        found.append(left)
    return found[::-1]


@dataclasses.dataclass(frozen=True)
class Routes:
    """Moves of a table, by how they are best gone through: classes of tokens that many states allow, and the rest.

    Args:
        common: (class, (Q,) state after each state, Q for none).
        rest: states before, classes and states after, (E,) each.
    """

    common: list[tuple[int, Tensor]]
    rest: tuple[Tensor, Tensor, Tensor]


def _routes(table: Tensor) -> Routes:
    many = (table >= 0).double().mean(0) > COMMON
    common = [
        (token, torch.where(table[:, token] < 0, len(table), table[:, token]))
        for token in many.nonzero()[:, 0].tolist()
    ]
    return Routes(common, _edges(table.masked_fill(many, -1)))


def _flow(routes: Routes, left: Tensor, chances: Tensor) -> Tensor:
    """Sum over moves of the probability (C, B) of the token and the message (Q, B) behind it, (Q, B)."""
    found = torch.zeros_like(left)
    begin, token, end = routes.rest
    if len(begin):
        found.index_add_(0, begin, left[end] * chances[token])
    behind = torch.cat([left, left.new_zeros(1, left.shape[1])])
    for one, after in routes.common:
        found.addcmul_(behind[after], chances[one])
    return found


def _edges(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States from which moves lead, their classes, and the states after them, (E,) each."""
    begin, token = (table >= 0).nonzero(as_tuple=True)
    return begin, token, table[begin, token]


def _tokens(
    classes: Tensor, of_token: Tensor, free: Tensor, unknown: Tensor, within: Tensor, known: Tensor | None
) -> Tensor:
    """Tokens (B, L) of classes (B, L), each by its law within the class."""
    if classes.numel() and len(of_token) == int(of_token.max()) + 1:  # every token is a class of its own
        order = torch.empty_like(of_token)
        order[of_token] = torch.arange(len(of_token), device=of_token.device)
        drawn = order[classes]
    else:
        own = of_token == classes[unknown][:, None]
        drawn = torch.zeros_like(classes)
        law = free.double().masked_fill(~own, -torch.inf)
        empty = law.amax(-1, keepdim=True) == -torch.inf  # only in rows that are drawn again
        drawn[unknown] = pick(torch.where(empty, 0.0, law), within[unknown])
    return drawn if known is None else torch.where(unknown, drawn, known)


__all__ = ["acceptable", "determined", "draw_classed", "log_share"]
