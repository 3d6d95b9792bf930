"""Perturbations at work: chosen rows are changed at chosen sites for the length of a `with` block.

Nothing of the network is edited. Hooks are set on entry and taken away on exit, also after an exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from guidekit.interventions.hooks import Installation
from guidekit.interventions.operators.operator import Operator
from guidekit.interventions.places import Probe
from guidekit.interventions.rows import Rows
from guidekit.interventions.rules import Rule
from guidekit.interventions.selection import find_sites
from guidekit.interventions.sites import Site

_ACTIVE: list[Installation] = []


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
    time: Tensor | None = None,
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
        time: (B,), in [0, 1], of the rows' states, for operators that look at it.

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
    work = Installation(network, operators, sites, Rows(code, seed, time), nodes, measure)
    with ExitStack() as stack:
        _ACTIVE.append(work)
        stack.callback(_ACTIVE.remove, work)
        work.install(stack)
        yield work.probe
    work.verify()


@contextmanager
def narrowed(network: nn.Module, rows: Tensor | slice) -> Iterator[None]:
    """While a network is called for some rows only, see `Rows.cut`: what is known of rows follows them."""
    touched = [(work, work.rows) for work in _ACTIVE if work.network is network]
    for work, before in touched:
        work.rows = before.cut(rows)
    try:
        yield
    finally:
        for work, before in touched:
            work.rows = before


def recording(network: nn.Module) -> bool:
    """Whether something of a network's calls is kept, so that no tokens may be left out of them."""
    return any(job.operator.records for work in _ACTIVE if work.network is network for job in work.jobs)


__all__ = ["installed", "narrowed", "recording"]
