"""Sequences that a finite automaton accepts, with certainty: masked tokens are drawn together, given the rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Propose
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.random import Draw
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step
from guidekit.core.token_kernels import TokenKernel
from guidekit.processes.accepted import acceptable, determined, draw_classed, log_share
from guidekit.processes.automata import Automaton
from guidekit.registry import register


@register("guidance", "grammar")
@dataclasses.dataclass(frozen=True, eq=False)
class Grammar(Guidance[None]):
    """Every finished sequence is accepted by an automaton: neighbors on a map, forbidden words, fixed formats.

    In a step all masked tokens are drawn together from the law of independent tokens that is believed in, given that
    the automaton accepts the whole (forward filtering, backward sampling: exact); the sampler then reveals as many of
    them as it wants. What is revealed can therefore always be completed, and nothing is rejected.

    With one step, or tokens that are independent, the law is the prior's given the rule; with more steps it is near.
    Inside a particle filter (`FKSteering`) the weights make up for the rest, and the law becomes exact with particles.

    Args:
        automaton: over the tokens of the prior; None is the one that the prior's codec has.
        lengths: (L + 1,) log-probability that the rule is kept by a sequence of n tokens, see `shares_of_lengths`, by
            which lengths are drawn given the rule; None draws those that can keep it as often as the prior does.

    Raises:
        GuidanceError: no automaton, one over another number of tokens or of other places, a condition that it cannot
            accept, or a guidance beside it that changes tokens behind its back.

    Source: messages of automata, Zhang et al. 2023, arXiv:2304.07438; drawing before unmasking is ours.
    """

    automaton: Automaton | None = None
    lengths: Tensor | None = None
    layer = Layer.PROPOSAL
    requires = frozenset({Fact.MASKED, Fact.SEQUENCE})
    shifts = True

    def rule(self, prior: Prior) -> Automaton:
        """The automaton, or that of the prior's codec."""
        found = getattr(prior.codec, "automaton", None) if self.automaton is None else self.automaton
        if found is None:
            raise GuidanceError(f"{self.name} needs automaton=, as this prior ({prior.name}) has a codec without one")
        return found

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """See `Guidance.check`."""
        size, known = self.rule(prior).vocab_size, prior.process.vocab_size  # type: ignore[attr-defined]
        if size != known:
            raise GuidanceError(f"{self.name}: the automaton is over {size} tokens, and {prior.name} has {known}")
        length, places = self.rule(prior).length, prior.event_shape[0]
        if length not in (None, places):
            raise GuidanceError(f"{self.name}: the rule is of {length} places, and {prior.name} has {places}")
        if any(Fact.WEIGHTS in member.provides for member in members) and Fact.TILTS not in sampler.provides:
            raise GuidanceError(
                f"{self.name} under a particle filter needs a sampler whose steps have a known law, such as ancestral"
            )

    def start(self, population: Population) -> Population:
        """See `Guidance.start`: lengths that can be accepted, and tokens that the rule leaves no choice of."""
        setup, prior = population.setup, population.setup.prior
        rule, state, pad = self.rule(prior), population.state, getattr(prior, "pad_id", None)
        free = torch.ones(rule.vocab_size, dtype=torch.bool)
        if pad is not None:
            free[pad] = False
            allowed = rule.lengths(state.shape[1], pad).to(state.device)
            tilt = torch.where(allowed, 0.0, -torch.inf) if self.lengths is None else self.lengths.to(state.device)
            if self.lengths is not None or not bool(allowed[(state != pad).sum(1)].all()):
                draw, resized = Draw(setup.random, (-1,), "start"), prior.resized  # type: ignore[attr-defined]
                state = resized(draw, len(state), population.condition, tilt)
        mask = prior.process.mask_id  # type: ignore[attr-defined]
        known = determined(rule, state.masked_fill(state == mask, -1), free)
        return population.at(torch.where(known < 0, mask, known))

    def finish(self, population: Population) -> Population:
        """See `Guidance.finish`: what somebody else has changed is refused."""
        if not bool(self.rule(population.setup.prior).accepts(population.state).all()):
            raise GuidanceError(
                f"{self.name}: another guidance of this run changed tokens that the rule had drawn; leave it out"
            )
        return population

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        process: Any = population.process
        rule = self.rule(population.setup.prior)
        proposal = inner(population, step)
        if step.start.index == 0:
            self._possible(rule, proposal.kernel, process.mask_id)
        return proposal.changed(lambda kernel: AcceptedKernel(kernel, population.state, rule, process.mask_id))

    def _possible(self, rule: Automaton, kernel: Any, mask_id: int) -> None:
        """Raise `GuidanceError` where what is known from the start leaves nothing to accept."""
        law = kernel.belief(mask_id)
        dead = (~acceptable(rule, law)).nonzero()
        if len(dead):
            raise GuidanceError(
                f"{self.name}: no sequence of {law.shape[1]} tokens is accepted with what is known of sample "
                f"{int(dead[0])}, such as a goal that cannot be reached from its start"
            )


def shares_of_lengths(prior: Any, automaton: Automaton, among: Automaton) -> Tensor:
    """log-probability (L + 1,) that tokens are accepted, given that another automaton accepts them, by their number.

    Tokens are those that the prior believes in before the first step: one row of the network for each of its lengths.
    """
    most, mask_id = prior.event_shape[0], prior.process.mask_id
    counts = ((prior.length_counts.cpu() > 0) & automaton.lengths(most, prior.pad_id)).nonzero()[:, 0]
    state = torch.where(torch.arange(most) < counts[:, None], mask_id, prior.pad_id)
    with torch.no_grad():
        law = prior.predict(state.to(prior.length_counts.device), 1.0).log_probs
    found = torch.full((most + 1,), -torch.inf, dtype=torch.float64)
    found[counts] = (log_share(automaton, law) - log_share(among, law)).cpu().nan_to_num(-torch.inf, neginf=-torch.inf)
    return found


@dataclasses.dataclass(frozen=True)
class AcceptedKernel(TokenKernel):
    """A law of which tokens are revealed, whose tokens are drawn together given that an automaton accepts the whole.

    Args:
        kernel: of independent tokens.
        z: present tokens (B, L).
        automaton: over V tokens.
        mask_id: id of the mask, V.
    """

    kernel: Any
    z: Tensor
    automaton: Automaton
    mask_id: int

    def sample(self, draw: Draw) -> Tensor:
        """See `Kernel.sample`."""
        tokens = torch.where(self.z == self.mask_id, 0, self.z)
        busy = (self.z == self.mask_id).any(1)
        if busy.any():
            known = self.z.masked_fill(self.z == self.mask_id, -1)
            drawn = draw_classed(self.automaton, self.kernel.belief(self.mask_id), draw.named("accepted"), known, busy)
            tokens = torch.where(busy[:, None], drawn, tokens)
        return self.kernel.revealing(tokens, self.mask_id).sample(draw)

    def log_prob(self, state: Tensor) -> Tensor:
        """See `Kernel.log_prob`: of the places that change, and of their tokens summed over all completions."""
        belief = self.kernel.belief(self.mask_id).double()
        shown = (self.z == self.mask_id) & (state != self.mask_id)
        filled = state.masked_fill(state == self.mask_id, 0)
        chosen = torch.arange(belief.shape[-1], device=state.device) == filled[..., None]
        kept = torch.where(shown[..., None] & ~chosen, -torch.inf, belief)
        tokens = log_share(self.automaton, kept) - log_share(self.automaton, belief)
        return self.kernel.revealing(filled, self.mask_id).log_prob(state) + tokens

    def tilt(self, direction: Tensor | None) -> AcceptedKernel:
        """See `Kernel.tilt`: the laws of single tokens."""
        return dataclasses.replace(self, kernel=self.kernel.tilt(direction))

    def accelerate(self, log_ratios: Tensor) -> AcceptedKernel:
        """See `TokenKernel.accelerate`."""
        return dataclasses.replace(self, kernel=self.kernel.accelerate(log_ratios))

    def power(self, exponent: float) -> AcceptedKernel:
        """See `Kernel.power`: the laws of single tokens."""
        return dataclasses.replace(self, kernel=self.kernel.power(exponent))
