"""`python -m guidekit.bench.physics SYSTEM MINUTES [FOLDER]`: train the prior of a system and save it."""

from __future__ import annotations

import sys
from pathlib import Path

from guidekit.bench.physics.prior import ASSETS, save, trained
from guidekit.bench.physics.systems import SYSTEMS

if __name__ == "__main__":
    given = sys.argv[1:]
    if not 2 <= len(given) <= 3 or given[0] not in SYSTEMS:
        sys.exit(f"usage: python -m guidekit.bench.physics {{{','.join(SYSTEMS)}}} MINUTES [FOLDER]")
    print(save(trained(SYSTEMS[given[0]], float(given[1])), Path(given[2]) if len(given) == 3 else ASSETS))
