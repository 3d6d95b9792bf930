"""What the core may do with a state: a tensor (batch first) or a dataclass of states.

Composite states (positions and atom types, nodes and edges) are frozen dataclasses whose fields are states. A field
that is no tensor, dataclass, dict or None (a name, a number) is carried along untouched. Every function has a fast path
for a bare tensor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

State = Any
"""A tensor (B, *S), or a dataclass or dict of states with one common batch size."""


def tree_map(function: Callable[..., Tensor], tree: State, *others: State) -> State:
    """Apply a function to corresponding leaves of states of the same structure."""
    if isinstance(tree, Tensor):
        return function(tree, *others)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        changes = {}
        for field in dataclasses.fields(tree):
            value = getattr(tree, field.name)
            if is_tree(value):
                changes[field.name] = tree_map(function, value, *(getattr(other, field.name) for other in others))
        return dataclasses.replace(tree, **changes)
    if isinstance(tree, dict):
        return {key: tree_map(function, value, *(other[key] for other in others)) for key, value in tree.items()}
    return tree


def is_tree(value: object) -> bool:
    """True for what `tree_map` descends into."""
    return isinstance(value, Tensor | dict) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def tree_leaves(tree: State) -> list[Tensor]:
    """The tensors of a state, in field order."""
    leaves: list[Tensor] = []
    tree_map(lambda leaf: leaves.append(leaf) or leaf, tree)
    return leaves


def tree_batch(tree: State) -> int:
    """Batch size of a state."""
    return len(tree) if isinstance(tree, Tensor) else len(tree_leaves(tree)[0])


def tree_index(tree: State, index: Tensor | slice) -> State:
    """Rows of a state; index (N,) int64 or bool, or a slice."""
    return tree_map(lambda leaf: leaf[index], tree)


def tree_repeat(tree: State, times: int) -> State:
    """Every row `times` times in a row: (B, ...) -> (B * times, ...)."""
    return tree if times == 1 else tree_map(lambda leaf: leaf.repeat_interleave(times, 0), tree)


def tree_cat(trees: Sequence[State]) -> State:
    """States of one structure joined along the batch."""
    if len(trees) == 1:
        return trees[0]
    return tree_map(lambda *leaves: torch.cat(leaves), *trees)


def tree_where(rows: Tensor, yes: State, no: State) -> State:
    """Rows of `yes` where rows (B,) is True, of `no` elsewhere."""
    return tree_map(lambda a, b: torch.where(right_pad(rows, a), a, b), yes, no)


def tree_put(tree: State, rows: Tensor, values: State) -> State:
    """A copy of a state with the given rows replaced; rows (N,) int64, values of batch N."""
    return tree_map(lambda leaf, value: leaf.index_copy(0, rows, value), tree, values)


def tree_to(tree: State, device: torch.device | str) -> State:
    """A state on another device."""
    return tree_map(lambda leaf: leaf.to(device), tree)


def rows_differ(a: State, b: State) -> Tensor:
    """(B,) bool, True where any entry of a row differs between two states."""
    pairs = zip(tree_leaves(a), tree_leaves(b), strict=True)
    return torch.stack([(x != y).flatten(1).any(1) for x, y in pairs]).any(0)


@dataclasses.dataclass(frozen=True)
class Coded:
    """A condition with a number per row that says how the network is perturbed for it, 0 for not at all.

    Rows of several branches are asked for in one call and may be split over several; the code travels with its row.

    Args:
        condition: pytree with leading B, or None.
        code: (B,) int64, see `Run.code_of`.
        seed: (B,) int64, of the random numbers of a perturbation.
    """

    condition: State | None
    code: Tensor
    seed: Tensor


def right_pad(v: Tensor | float, like: Tensor) -> Tensor | float:
    """View v (B,) as (B, 1, ..., 1) so that it broadcasts against like (B, *S); numbers pass through."""
    return v.reshape(v.shape + (1,) * (like.ndim - v.ndim)) if isinstance(v, Tensor) else v
