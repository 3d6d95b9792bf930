"""Results of finished chunks on disk, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from guidekit.core.budget import Budget, Purse, SpentError
from guidekit.core.loop import Progress
from guidekit.core.state import moved
from guidekit.io.tensors import read_checked, write_checked
from guidekit.results import joined, parted
from guidekit.running.scores import Memory
from guidekit.sampling import Result, Sampling, join

LOSS = 60.0
"""Seconds of work that an interruption may cost, about; chunks are cut by it where no batch size is given."""


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A finished range of groups.

    Attributes:
        begin: its first group.
        result: of groups begin to end - 1, on the CPU.
        learned: by the reward meanwhile, see `Memory.learned`.
    """

    begin: int
    result: Result
    learned: Mapping[str, Any]

    @property
    def end(self) -> int:
        """One past its last group."""
        return self.begin + len(self.result.log_normalizer)


def save_chunk(folder: Path, name: str, chunk: Chunk) -> None:
    """Write a chunk of tensor states to a safetensors file, in one step."""
    if not isinstance(chunk.result.samples, Tensor):
        kind = type(chunk.result.samples).__name__
        raise ValueError(f"only states that are one tensor can be kept on disk; these are {kind}")
    tensors, said = parted(chunk.result)
    path = folder / f"{name}-{chunk.begin:06d}-{chunk.end:06d}.safetensors"
    write_checked(path, tensors, {**said, "begin": chunk.begin, "learned": dict(chunk.learned)})


def load_chunk(path: Path) -> Chunk | None:
    """Read what `save_chunk` wrote; None where it is truncated or a single bit is not as it was."""
    found = read_checked(path)
    if found is None or not {"begin", "ledger", "learned"} <= found[1].keys():
        return None
    return Chunk(found[1]["begin"], joined(*found), found[1]["learned"])


def load_chunks(folder: Path, name: str) -> tuple[dict[int, Chunk], list[str]]:
    """The sound chunks of a part of a run by their first group, without overlap, and the names of damaged files."""
    found: dict[int, Chunk] = {}
    damaged, end = [], 0
    for path in sorted(folder.glob(f"{name}-*.safetensors")):
        chunk = load_chunk(path)
        if chunk is None:
            damaged.append(path.name)
        elif chunk.begin >= end:
            found[chunk.begin], end = chunk, chunk.end
    return found, damaged


class TooLongError(Exception):
    """A chunk would take much longer than may be lost; `groups` would do."""

    def __init__(self, groups: int) -> None:
        super().__init__(groups)
        self.groups = groups


def sample_on_disk(
    folder: Path,
    name: str,
    sampling: Sampling,
    memory: Memory,
    done: Mapping[int, Chunk],
    cut: bool = True,
    on_step: Callable[[Progress], None] | None = None,
    on_chunk: Callable[[int], None] | None = None,
    purse: Purse | None = None,
) -> Result | None:
    """`sample`, with every finished chunk kept in a folder and those already there not drawn again.

    Args:
        folder: existing folder for the chunks.
        name: of this part of the run ("guided", "unguided").
        sampling: what is drawn.
        memory: of the reward.
        done: chunks that are there, see `load_chunks`.
        cut: smaller chunks where they take long.
        on_step: told every step.
        on_chunk: told the number of finished groups after every chunk.
        purse: that all chunks are paid from, those that are there among them; None pays for all.

    Returns:
        the groups that were paid for; None where that is none.

    Raises:
        BudgetError: none, and the purse has paid for nothing before.
    """
    purse = Purse(Budget()) if purse is None else purse
    fresh = not any(purse.spent.values())
    purse.next_part()
    parts: list[Chunk] = []
    at, size = 0, sampling.batch_size
    while at < sampling.num_samples:
        if at in done:
            chunk = done[at]
            purse.paid(chunk.result.ledger, chunk.end - chunk.begin)
        else:
            paid = purse.pays(size)
            if not paid:
                break
            end = min([at + paid, sampling.num_samples, *(begin for begin in done if begin > at)])
            memory.recall()
            meter = purse.meter()
            try:
                watch = _watched(on_step, end - at) if cut else on_step
                result = sampling.draw(at, end, watch, meter)
            except TooLongError as told:
                size = told.groups
                purse.lost(meter)
                continue
            except SpentError as told:
                purse.ended(meter, told, len(sampling.setup.visits), first=fresh and not parts)
                break
            purse.paid(result.ledger, end - at)
            chunk = Chunk(at, _on_cpu(result), memory.learned())
            save_chunk(folder, name, chunk)
        memory.add(chunk.learned)
        parts.append(chunk)
        if cut and chunk.end < sampling.num_samples:
            size = fitting(chunk.end - at, chunk.result.ledger.seconds, size, sampling.batch_size)
        at = chunk.end
        if on_chunk is not None:
            on_chunk(at)
    if not parts:
        return None
    return dataclasses.replace(join([chunk.result for chunk in parts]), stopped=purse.stopped)


def fitting(groups: int, seconds: float, size: int, most: int) -> int:
    """How many groups a chunk should have, after one of `groups` took so long; `size` unless it is far off."""
    if seconds > 1.5 * LOSS or (size < most and seconds < LOSS / 4):
        return max(1, min(most, 2 ** int(math.log2(max(1.0, groups * LOSS / max(seconds, 1e-3))))))
    return size


def _watched(on_step: Callable[[Progress], None] | None, groups: int) -> Callable[[Progress], None]:
    """The callback, which stops a chunk early where its first steps show that it will take far too long."""
    first: list[tuple[int, float]] = []

    def watch(progress: Progress) -> None:
        if on_step is not None:
            on_step(progress)
        now = time.perf_counter()
        if not first:  # the first step also prepares what the others use
            first.append((progress.step, now))
        elif groups > 1 and progress.step <= 1 + progress.steps / 8:
            step, began = first[0]
            seconds = (now - began) / (progress.step - step) * progress.steps
            if seconds > 2 * LOSS:
                raise TooLongError(fitting(groups, seconds, groups, groups))

    return watch


def _on_cpu(result: Result) -> Result:
    return dataclasses.replace(
        result,
        samples=moved(result.samples, "cpu"),
        log_weights=result.log_weights.cpu(),
        log_normalizer=result.log_normalizer.cpu(),
        info={name: value.cpu() for name, value in result.info.items()},
    )
