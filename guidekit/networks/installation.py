"""Perturbations at work: hooks that change chosen rows at chosen sites for the length of a `with` block.

Nothing of the network is edited. Hooks are set on entry and taken away on exit, also after an exception. Attention is
reached by intercepting the attention functions of torch while a site is called, so fused projections and rotary
embeddings need no adapter; kernels of other libraries are not seen.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from guidekit.networks.heads import Heads, from_function, from_multihead, join_heads
from guidekit.networks.numbers import keyed_uniform
from guidekit.networks.sites import Rule, Site, SiteError, choose, find_sites

if TYPE_CHECKING:
    from guidekit.networks.perturbations import Operator


@dataclasses.dataclass(frozen=True)
class Place:
    """Where and for whom an operator acts.

    Args:
        site: the site.
        index, count: its number among the sites of this operator, and how many there are.
        dims: extents of the tokens' grid behind the leading ones.
        movable: tokens that may be changed (b, N) bool, or None for all.
        seed: (b,) int64, of the perturbed rows.
        rows: their numbers in the call, (b,) int64.
        args, kwargs: the site was called with, all rows.
    """

    site: Site
    index: int
    count: int
    dims: tuple[int, ...]
    movable: Tensor | None
    seed: Tensor
    rows: Tensor
    args: tuple
    kwargs: dict

    def uniform(self, numbers: int | Tensor, shared: bool = False) -> Tensor:
        """Uniform numbers in (0, 1), float64, a function of the row's seed, the site and the number alone.

        Args:
            numbers: how many a row, or their names (b, n) or (n,) int64.
            shared: the same at all sites.
        """
        if isinstance(numbers, int):
            numbers = torch.arange(numbers, device=self.seed.device)
        stream = 0 if shared else stream_of(self.site.name)
        return keyed_uniform(self.seed, stream, numbers)


def stream_of(name: str) -> int:
    """A number for a name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


class Probe:
    """What perturbations did.

    Attributes:
        calls: times that each pair (operator's name, site's name) was reached.
        effects: relative change ||new - old|| / ||old|| of what flows there, over all perturbed rows so far.
        records: by site, what `Record` kept: a list of (rows (b,), tensor (b, ...), dims).
    """

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], int] = {}
        self._sizes: dict[tuple[str, str], tuple[float, float]] = {}
        self.records: dict[str, list[tuple[Tensor, Tensor, tuple[int, ...]]]] = {}

    @property
    def effects(self) -> dict[tuple[str, str], float]:
        """See the class."""
        return {key: (d / max(o, 1e-300)) ** 0.5 for key, (d, o) in self._sizes.items()}

    def add(self, key: tuple[str, str], new: Tensor, old: Tensor) -> None:
        """Count a change."""
        d, o = self._sizes.get(key, (0.0, 0.0))
        difference = (new.detach() - old.detach()).double().square().sum()
        self._sizes[key] = (d + float(difference), o + float(old.detach().double().square().sum()))


_ACTIVE: list[Installation] = []


class Installation:
    """The hooks of one `installed` block; made there."""

    def __init__(
        self,
        network: nn.Module,
        operators: Mapping[int, Sequence[Operator]],
        sites: Sequence[Site],
        code: Tensor | None,
        seed: Tensor | None,
        nodes: Tensor | None,
        measure: bool,
    ) -> None:
        self.network, self.code, self.seed, self.nodes, self.measure = network, code, seed, nodes, measure
        self.probe, self.forwards, self.index = Probe(), 0, None
        self.jobs: list[tuple[int, Operator, Site, str, int, int]] = []
        for number, several in operators.items():
            for operator in several:
                chosen = choose(network, sites, operator.ports, operator.sites)
                for i, (site, port) in enumerate(chosen):
                    self.jobs.append((number, operator, site, port, i, len(chosen)))
                    self.probe.calls[(type(operator).__name__, site.name)] = 0
        if not self.jobs:
            raise SiteError(f"no site of this network ({type(network).__name__}) is chosen; see describe(network)")

    # Rows ----------------------------------------------------------------------------------------------------------

    def rows(self, number: int, batch: int, site: Site) -> tuple[Tensor, Tensor, Tensor | None]:
        """Rows of a code in a tensor with `batch` of them, their seeds, and the rows of their companions."""
        code, seed = self.code, self.seed
        if code is None:
            code = torch.ones(batch, dtype=torch.int64)
        if seed is None:
            seed = torch.arange(len(code), device=code.device)
        if self.nodes is not None:
            code, seed = code[self.nodes], seed[self.nodes]
        if len(code) != batch:
            raise SiteError(
                f"site {site.name} sees a batch of {batch} where the call has {len(code)}: it mixes rows, or has its "
                "batch elsewhere than first, and rows cannot be told apart there"
            )
        rows, companions = (code == number).nonzero()[:, 0], (code == -number).nonzero()[:, 0]
        if len(companions) and len(companions) != len(rows):
            raise SiteError(f"{len(rows)} rows of code {number} and {len(companions)} companions; one each is needed")
        return rows, seed[rows], companions if len(companions) else None

    def place(self, job: tuple, batch: int, call: Call, tokens: int, valid: Tensor | None) -> Place | None:
        """The place of a job in a call; None where no row is perturbed."""
        number, _, site, _, index, count = job
        rows, seed, _ = self.rows(number, batch, site)
        rows, seed = rows.to(call.device), seed.to(call.device)
        if len(rows) == 0:
            return None
        movable = None if valid is None else valid.expand(batch, tokens)[rows]
        if site.leading:
            behind = torch.arange(tokens, device=call.device) >= site.leading
            movable = behind.expand(len(rows), tokens) if movable is None else movable & behind
        dims = site.dims or call.dims or (tokens - site.leading,)
        return Place(site, index, count, dims, movable, seed, rows, call.args, call.kwargs)

    def changed(self, job: tuple, old: Tensor, new: Tensor, movable: Tensor | None) -> Tensor:
        """What stands in place of `old`: `new`, but for tokens (axis -2) that must not be changed."""
        if movable is not None:
            new = torch.where(movable.view(len(new), *[1] * (new.ndim - 3), movable.shape[1], 1), new, old)
        if self.measure:
            self.probe.add((type(job[1]).__name__, job[2].name), new, old)
        return new.to(old.dtype)

    def count(self, job: tuple) -> None:
        """One more time that a site was reached."""
        self.probe.calls[(type(job[1]).__name__, job[2].name)] += 1

    # Hooks ---------------------------------------------------------------------------------------------------------

    def install(self, stack: ExitStack) -> None:
        """Set all hooks; the stack takes them away."""
        root = self.network.register_forward_pre_hook(self._forward_begins)
        stack.callback(root.remove)
        attention: dict[nn.Module, list[tuple]] = {}
        for job in self.jobs:
            port, module = job[3], job[2].ports[job[3]]
            if port in ("self_attention", "cross_attention"):
                attention.setdefault(module, []).append(job)
            elif port in ("tokens", "message_passing"):
                hook = self._input if port == "tokens" else self._edges
                handle = module.register_forward_pre_hook(_bound(hook, job), with_kwargs=True)
                stack.callback(handle.remove)
            else:
                handle = module.register_forward_hook(_bound(self._output, job), with_kwargs=True)
                stack.callback(handle.remove)
        for module, jobs in attention.items():
            entered: list[_Intercept] = []
            before = module.register_forward_pre_hook(_bound(self._enter, jobs, entered), with_kwargs=True)
            after = module.register_forward_hook(_bound(_leave, entered), always_call=True)
            stack.callback(before.remove)
            stack.callback(after.remove)
            stack.callback(_leave_all, entered)

    def _forward_begins(self, module: nn.Module, args: tuple) -> None:
        self.forwards += 1

    def _enter(self, jobs: list[tuple], entered: list, module: nn.Module, args: tuple, kwargs: dict) -> None:
        mode = _Intercept(self, jobs, Call.of(args, kwargs))
        mode.__enter__()
        entered.append(mode)

    def _input(self, job: tuple, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        self.count(job)
        call = Call.of(args, kwargs)
        x = call.first
        flat = x.flatten(2).transpose(1, 2) if call.dims else x
        valid = job[2].padding(args, kwargs) if job[2].padding else None
        place = self.place(job, len(x), call, flat.shape[1], valid)
        if place is None:
            return args, kwargs
        old = flat[place.rows]
        new = self.changed(job, old, job[1].input(old, place), place.movable)
        new = new.transpose(1, 2).unflatten(2, call.dims) if call.dims else new
        return call.replaced(x.index_copy(0, place.rows, new))

    def _output(self, job: tuple, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        self.count(job)
        call, parts = Call.of(args, kwargs), output if isinstance(output, tuple) else (output,)
        found = []
        for i, part in enumerate(parts):
            if not isinstance(part, Tensor) or (i and job[3] != "block"):
                found.append(part)
                continue
            place = self.place(job, len(part), call, part.shape[1] if part.ndim > 1 else 1, None)
            if place is None:
                return output
            old = part[place.rows]
            new = self.changed(job, old, job[1].output(old, i, place), None)
            found.append(part.index_copy(0, place.rows, new))
        return tuple(found) if isinstance(output, tuple) else found[0]

    def _edges(self, job: tuple, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        from guidekit.networks.graphs import changed_edges

        self.count(job)
        if self.nodes is None:
            raise SiteError(f"site {job[2].name} is a graph layer: give nodes=, the graph that each node belongs to")
        rows, seed, _ = self.rows(job[0], len(self.nodes), job[2])
        return (
            changed_edges(module, args, kwargs, job[1], rows, seed, self.nodes, job[2]) if len(rows) else (args, kwargs)
        )

    # Attention -----------------------------------------------------------------------------------------------------

    def attend(self, jobs: list[tuple], call: Call, original: Tensor, heads: Heads, merge: Callable | None) -> Tensor:
        """The output of an attention function, (B, h, N, d) or what `merge` makes of that, with its jobs done."""
        for job in jobs:
            self.count(job)
            batch, tokens = len(heads.q), heads.q.shape[2]
            valid = heads.valid() if job[3] == "self_attention" else None
            place = self.place(job, batch, call, tokens, valid)
            if place is None:
                continue
            companions = self.rows(job[0], batch, job[2])[2]
            other = None if companions is None else heads.rows(companions.to(call.device))
            out = job[1].attention(heads.rows(place.rows), place, other, self)
            if out is not None:
                new = out if merge is None else merge(out)
                new = self.changed(job, original[place.rows], new, place.movable)
                original = original.index_copy(0, place.rows, new)
        return original

    # End -----------------------------------------------------------------------------------------------------------

    def verify(self) -> None:
        """Raise where the network was called and a site was not reached."""
        if not self.forwards and not any(self.probe.calls.values()):
            return
        silent = [key for key, calls in self.probe.calls.items() if not calls]
        if silent:
            operator, site = silent[0]
            raise SiteError(
                f"{operator} never fired at site {site}: nothing of that kind was called there (attention kernels of "
                "other libraries are not seen); choose other sites, see guidekit.networks.describe(network)"
            )


@dataclasses.dataclass(frozen=True)
class Call:
    """Arguments of a site's call."""

    args: tuple
    kwargs: dict

    @classmethod
    def of(cls, args: tuple, kwargs: dict) -> Call:
        """From what a hook is told."""
        return cls(args, kwargs)

    @property
    def first(self) -> Tensor:
        """The tensor that goes through the site: its first argument."""
        return self.args[0] if self.args else next(iter(self.kwargs.values()))

    @property
    def device(self) -> torch.device:
        """Of that tensor."""
        return self.first.device

    @property
    def dims(self) -> tuple[int, ...] | None:
        """Height and width (or more) of a map (B, C, H, W), None for a sequence."""
        return tuple(self.first.shape[2:]) if self.first.ndim > 3 else None

    def replaced(self, x: Tensor) -> tuple[tuple, dict]:
        """The arguments with another first one."""
        if self.args:
            return (x, *self.args[1:]), self.kwargs
        return (), {**self.kwargs, next(iter(self.kwargs)): x}


class _Intercept(TorchFunctionMode):
    """Catches the attention functions of torch while a site is called."""

    def __init__(self, owner: Installation, jobs: list[tuple], call: Call) -> None:
        super().__init__()
        self.owner, self.jobs, self.call = owner, jobs, call

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """See `TorchFunctionMode`."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            heads, squeeze = from_function(*args, **kwargs)
            out = func(*args, **kwargs)
            out = self.owner.attend(self.jobs, self.call, out[:, None] if squeeze else out, heads, None)
            return out[:, 0] if squeeze else out
        if func is F.multi_head_attention_forward:
            out, weights = func(*args, **kwargs)
            heads, project = from_multihead(*args, **kwargs)
            merge = lambda z: project(join_heads(z))  # noqa: E731
            out = self.owner.attend(self.jobs, self.call, out.transpose(0, 1), heads, merge)
            return out.transpose(0, 1), weights
        return func(*args, **kwargs)


def _leave(entered: list[_Intercept], module: nn.Module, args: tuple, output: Any) -> None:
    if entered:
        entered.pop().__exit__(None, None, None)


def _leave_all(entered: list[_Intercept]) -> None:
    while entered:
        entered.pop().__exit__(None, None, None)


def _bound(hook: Callable, *first: Any) -> Callable:
    return lambda *args: hook(*first, *args)


@contextmanager
def installed(
    network: nn.Module,
    operators: Operator | Sequence[Operator] | Mapping[int, Sequence[Operator]],
    code: Tensor | None = None,
    seed: Tensor | None = None,
    nodes: Tensor | None = None,
    measure: bool = False,
    rules: Sequence[Rule] = (),
    sites: Sequence[Site] | None = None,
) -> Iterator[Probe]:
    """Perturb rows of every call of a network inside the block; afterwards the network is as before.

    Args:
        network: any `torch.nn.Module`; compiled ones must be called uncompiled.
        operators: what to do, for code 1; or by code.
        code: (B,) int64, which operators a row gets, 0 for none; None is 1 everywhere. Rows of -c are companions of
            those of c, in order: `NegativeExtrapolate` takes its keys and values from them.
        seed: (B,) int64, of the random numbers of a row; None is its number in the batch.
        nodes: (N,) int64, number of the graph that each node belongs to, for networks of torch_geometric; code and seed
            are then of graphs.
        measure: whether `Probe.effects` is wanted.
        rules: see `find_sites`.
        sites: known ones, in place of looking for them.

    Yields:
        what the perturbations did.

    Raises:
        UnknownNameError: a site has no such name; the message has the nearest.
        SiteError: the network has no site of that kind, an operator cannot act there, or a site was never reached
            although the network was called.
    """
    if not isinstance(operators, Mapping):
        operators = {1: operators if isinstance(operators, Sequence) else [operators]}
    sites = find_sites(network, rules) if sites is None else sites
    work = Installation(network, operators, sites, code, seed, nodes, measure)
    with ExitStack() as stack:
        _ACTIVE.append(work)
        stack.callback(_ACTIVE.remove, work)
        work.install(stack)
        yield work.probe
    work.verify()


@contextmanager
def narrowed(network: nn.Module, rows: Tensor | slice) -> Iterator[None]:
    """While a network is called for some rows only (a mask or numbers of rows): codes and seeds follow them."""
    touched = [work for work in _ACTIVE if work.network is network]
    before = [(work.code, work.seed, work.index) for work in touched]
    for work in touched:
        every = torch.arange(len(work.code)) if work.index is None and work.code is not None else work.index
        if work.code is None:
            continue
        cut = rows.to(work.code.device) if isinstance(rows, Tensor) else rows
        work.index = every[cut.cpu() if isinstance(cut, Tensor) else cut]
        seed = torch.arange(len(work.code), device=work.code.device) if work.seed is None else work.seed
        work.code, work.seed = work.code[cut], seed[cut]
    try:
        yield
    finally:
        for work, (code, seed, index) in zip(touched, before, strict=True):
            work.code, work.seed, work.index = code, seed, index


__all__ = ["Call", "Installation", "Place", "Probe", "installed", "narrowed"]
