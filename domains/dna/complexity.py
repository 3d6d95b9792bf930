"""Low complexity: how long the runs of one letter are, and how many different words a sequence has."""

from __future__ import annotations

import collections
import itertools
import math

from .alphabet import Alphabet

WORDS = {"DNA": 3, "protein": 2}
"""Letters of the words that are counted."""


def longest_run(sequence: str) -> int:
    """Length of the longest run of one letter; 0 for an empty string."""
    return max((sum(1 for _ in run) for _, run in itertools.groupby(sequence)), default=0)


def word_entropy(sequence: str, alphabet: Alphabet) -> float:
    """Entropy of the overlapping words of a sequence as a share of the largest for its length, 0 to 1.

    Words have 3 bases or 2 residues. 0 is one word all along; NaN for sequences with fewer than two words.
    """
    size = WORDS[alphabet.name]
    words = collections.Counter(sequence[i : i + size] for i in range(len(sequence) - size + 1))
    total = sum(words.values())
    if total < 2:
        return math.nan
    entropy = -math.fsum(count / total * math.log2(count / total) for count in words.values())
    return entropy / math.log2(min(total, len(alphabet.letters) ** size))
