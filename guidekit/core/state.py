"""What the core may do with a state: a tensor (batch first), or a dataclass, dict or tuple of states.

Composite states (positions and atom types, nodes and edges) are `Composite`s. What is no container (a name, a number)
is carried along untouched. Every function has a fast path for a bare tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Composite:
    """Several kinds of data that belong together, say positions and atom types.

    Args:
        parts: name -> (B, N, ...); a part may be None where a gradient has nothing to say about it.
        mask: (B, N) bool, True where a row has a place at all; None where all have.
    """

    parts: Mapping[str, Any]
    mask: Tensor | None = None


State = Any
"""A tensor (B, *S), or a container of states with one common number of rows."""


def map_leaves(function: Callable[..., Tensor], tree: Any, *others: Any) -> Any:
    """Apply a function to corresponding tensors of trees of one structure; what is no container stays as it is."""
    if isinstance(tree, Tensor):
        return function(tree, *others)
    if tree is None or isinstance(tree, float):
        return tree
    if isinstance(tree, dict):
        return {key: map_leaves(function, value, *(other[key] for other in others)) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map_leaves(function, *values) for values in zip(tree, *others, strict=True))
    if is_dataclass(tree) and not isinstance(tree, type):
        named = vars(tree).items()
        if not others:
            return altered(tree, **{key: map_leaves(function, value) for key, value in named})
        fields = ((key, value, [vars(other)[key] for other in others]) for key, value in named)
        return altered(tree, **{key: map_leaves(function, value, *more) for key, value, more in fields})
    return tree


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of a tree, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    found: list[Tensor] = []

    def keep(leaf: Tensor) -> Tensor:
        found.append(leaf)
        return leaf

    map_leaves(keep, tree)
    return found


def batch(tree: Any) -> int:
    """Number of rows B."""
    return (tree if isinstance(tree, Tensor) else leaves(tree)[0]).shape[0]


def take(tree: Any, rows: Tensor | slice | int) -> Any:
    """The given rows of a tree; rows (N,) int64 or bool, or a slice. A number gives one row without its batch."""
    return map_leaves(lambda leaf: leaf[rows], tree)


def repeat(tree: Any, times: int) -> Any:
    """Every row `times` times in a row: (B, ...) -> (B * times, ...)."""
    return tree if times == 1 else map_leaves(lambda leaf: leaf.repeat_interleave(times, 0), tree)


def put(tree: Any, rows: Tensor, values: Any) -> Any:
    """A tree with the rows (N,) int64 replaced by those of `values`."""
    return map_leaves(lambda leaf, new: leaf.index_copy(0, rows, new.to(leaf.dtype)), tree, values)


def cat(trees: Sequence[Any]) -> Any:
    """The rows of several trees, one after the other."""
    return map_leaves(lambda *each: torch.cat(each), *trees) if len(trees) > 1 else trees[0]


def where(rows: Tensor, yes: Any, no: Any) -> Any:
    """Rows of `yes` where rows (B,) is True, of `no` elsewhere."""
    return map_leaves(lambda a, b: torch.where(column(rows, a), a, b), yes, no)


def spread(tree: Any, rows: int) -> Any:
    """One state without a batch as `rows` equal rows."""
    return map_leaves(lambda leaf: leaf.expand(rows, *leaf.shape), tree)


def moved(tree: Any, device: torch.device | str) -> Any:
    """A tree on another device."""
    return map_leaves(lambda leaf: leaf.to(device), tree)


def altered(value: Any, /, **changes: Any) -> Any:
    """`replace` at a quarter of its cost, for values that are made in every step; no `__post_init__` runs."""
    new = object.__new__(type(value))
    vars(new).update(vars(value), **changes)
    return new


def changed_rows(a: State, b: State) -> Tensor:
    """Indices of the rows in which two states differ anywhere."""
    pairs = zip(leaves(a), leaves(b), strict=True)
    return torch.stack([(x != y).flatten(1).any(1) for x, y in pairs]).any(0).nonzero()[:, 0]


def column(values: Any, like: Tensor) -> Any:
    """(B,) as (B, 1, ..., 1), to broadcast against like (B, *S); numbers pass through."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim)) if isinstance(values, Tensor) else values
