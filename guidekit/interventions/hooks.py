"""The hooks by which perturbations act on a network, see `guidekit.interventions.installed`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.interventions.graphs import changed_edges
from guidekit.interventions.heads import Heads
from guidekit.interventions.interception import Merge, intercept
from guidekit.interventions.operators.operator import Operator
from guidekit.interventions.places import Call, Place, Probe
from guidekit.interventions.rows import Rows
from guidekit.interventions.sites import Site, SiteError


@dataclasses.dataclass(frozen=True)
class Job:
    """An operator at one of its sites.

    Args:
        code: of the rows it is for.
        operator, site, port: what acts where.
        index, count: number of the site among those of the operator, and how many there are.
    """

    code: int
    operator: Operator
    site: Site
    port: str
    index: int
    count: int

    @property
    def key(self) -> tuple[str, str]:
        """Its entry in a `Probe`."""
        return type(self.operator).__name__, self.site.name


class Installation:
    """The hooks of one `installed` block; made there."""

    def __init__(
        self,
        network: nn.Module,
        operators: Mapping[int, Sequence[Operator]],
        sites: Sequence[Site],
        rows: Rows,
        nodes: Tensor | None,
        measure: bool,
    ) -> None:
        self.network, self.rows, self.nodes, self.measure = network, rows, nodes, measure
        self.probe, self.forwards = Probe(), 0
        self.jobs: list[Job] = []
        for code, several in operators.items():
            for operator in several:
                chosen = operator.chosen(network, sites)
                for i, (site, port) in enumerate(chosen):
                    self.jobs.append(Job(code, operator, site, port, i, len(chosen)))
        if not self.jobs:
            raise SiteError(f"no site of this network ({type(network).__name__}) is chosen; see describe(network)")
        self.probe.calls = dict.fromkeys((job.key for job in self.jobs), 0)

    def install(self, stack: ExitStack) -> None:
        """Set all hooks; the stack takes them away."""
        stack.callback(self.network.register_forward_pre_hook(self._forward_begins).remove)
        attention: dict[nn.Module, list[Job]] = {}
        for job in self.jobs:
            module = job.site.ports[job.port]
            if job.port in ("self_attention", "cross_attention"):
                attention.setdefault(module, []).append(job)
            elif job.port in ("tokens", "message_passing"):
                hook = partial(self._input if job.port == "tokens" else self._edges, job)
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            else:
                hook = partial(self._output, job)
                stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        for module, jobs in attention.items():
            intercept(module, partial(self._attend, jobs), stack)

    def verify(self) -> None:
        """Raise where the network was called and a site was not reached."""
        if not self.forwards and not any(self.probe.calls.values()):
            return
        silent = [key for key, calls in self.probe.calls.items() if not calls]
        if silent:
            operator, site = silent[0]
            raise SiteError(
                f"{operator} never fired at site {site}: nothing of that kind was called there (attention kernels of "
                "other libraries are not seen); choose other sites, see guidekit.interventions.describe(network)"
            )

    # Rows ----------------------------------------------------------------------------------------------------------

    def place(self, job: Job, batch: int, call: Call, tokens: int, valid: Tensor | None = None) -> Place | None:
        """The place of a job in a call; None where no row is perturbed."""
        site, known = job.site, self.rows.of(batch, job.site, self.nodes)
        rows = known.of_code(job.code)
        if len(rows) == 0:
            return None
        mine = known.take(rows)
        time = None if mine.time is None else mine.time.to(call.device)
        rows, number, seed = (value.to(call.device) for value in (rows, mine.number, mine.seed))
        movable = None if valid is None else valid.expand(batch, tokens)[rows]
        if site.leading:
            behind = torch.arange(tokens, device=call.device) >= site.leading
            movable = behind.expand(len(rows), tokens) if movable is None else movable & behind
        dims = site.dims or call.dims or (tokens - site.leading,)
        return Place(site, job.index, job.count, dims, movable, rows, number, seed, time, call, self.probe)

    def companions(self, job: Job, place: Place, heads: Heads) -> Heads | None:
        """Attention of the rows that run along with those of a job, in their order; None where there are none."""
        rows = self.rows.of(len(heads.q), job.site, self.nodes).of_code(-job.code)
        if len(rows) == 0:
            return None
        if len(rows) != len(place.rows):
            raise SiteError(f"{len(place.rows)} rows of code {job.code} and {len(rows)} companions; one each is needed")
        return heads.rows(rows.to(heads.q.device))

    def changed(self, job: Job, old: Tensor, new: Tensor, movable: Tensor | None = None) -> Tensor:
        """What stands in place of `old`: `new`, but for tokens (axis -2) that must not be changed."""
        if movable is not None:
            new = torch.where(movable.view(len(new), *[1] * (new.ndim - 3), movable.shape[1], 1), new, old)
        if self.measure:
            self.probe.add(job.key, new, old)
        return new.to(old.dtype)

    # Hooks ---------------------------------------------------------------------------------------------------------

    def _forward_begins(self, module: nn.Module, args: tuple) -> None:
        self.forwards += 1

    def _input(self, job: Job, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        self.probe.calls[job.key] += 1
        call = Call(args, kwargs)
        x = call.first
        flat = x.flatten(2).transpose(1, 2) if call.dims else x
        valid = job.site.padding(args, kwargs) if job.site.padding else None
        place = self.place(job, len(x), call, flat.shape[1], valid)
        if place is None:
            return args, kwargs
        old = flat[place.rows]
        new = self.changed(job, old, job.operator.input(old, place), place.movable)
        new = new.transpose(1, 2).unflatten(2, call.dims) if call.dims else new
        return call.replaced(x.index_copy(0, place.rows, new))

    def _output(self, job: Job, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        self.probe.calls[job.key] += 1
        call, parts = Call(args, kwargs), list(output) if isinstance(output, tuple) else [output]
        for i, part in enumerate(parts):
            if not isinstance(part, Tensor) or (i and job.port != "block"):
                continue
            place = self.place(job, len(part), call, part.shape[1] if part.ndim > 1 else 1)
            if place is None:
                return output
            old = part[place.rows]
            new = self.changed(job, old, job.operator.output(old, i, place))
            parts[i] = part.index_copy(0, place.rows, new)
        return tuple(parts) if isinstance(output, tuple) else parts[0]

    def _edges(self, job: Job, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        self.probe.calls[job.key] += 1
        if self.nodes is None:
            raise SiteError(f"site {job.site.name} is a graph layer: give nodes=, the graph that each node belongs to")
        known = self.rows.of(len(self.nodes), job.site, self.nodes)
        rows = known.of_code(job.code)
        if len(rows) == 0:
            return args, kwargs
        return changed_edges(module, args, kwargs, job.operator, rows, known.seed[rows], self.nodes, job.site)

    def _attend(self, jobs: Sequence[Job], call: Call, out: Tensor, heads: Heads, merge: Merge | None) -> Tensor:
        """See `guidekit.interventions.interception.Attend`."""
        for job in jobs:
            self.probe.calls[job.key] += 1
            valid = heads.valid() if job.port == "self_attention" else None
            place = self.place(job, len(heads.q), call, heads.q.shape[2], valid)
            if place is None:
                continue
            new = job.operator.attention(heads.rows(place.rows), place, self.companions(job, place, heads))
            if new is not None:
                new = self.changed(job, out[place.rows], new if merge is None else merge(new), place.movable)
                out = out.index_copy(0, place.rows, new)
        return out
