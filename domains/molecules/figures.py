"""Pictures of molecules."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

from guidekit.io.files import write_atomic

WIDTH, HEIGHT = 300, 240  # pixels per molecule
LARGEST = 32_767  # Cairo's limit for one side of a picture


def grid(
    molecules: Sequence[Chem.Mol],
    captions: Sequence[str] | None = None,
    columns: int = 4,
    path: str | Path | None = None,
) -> bytes:
    """Draw molecules row by row, 300 x 240 pixels each, captions below; leave invalid ones out beforehand.

    Args:
        captions: one short text per molecule; about 40 characters fit.
        columns: molecules per row; fewer are used when there are fewer molecules.
        path: where to write the PNG, replaced in one step; None writes nothing.

    Returns:
        The picture as PNG bytes.

    Raises:
        ValueError: no molecule, an entry is None, another number of captions, or a picture beyond 32,767 pixels.
    """
    missing = [i for i, molecule in enumerate(molecules) if molecule is None]
    if missing or not len(molecules):
        raise ValueError(
            f"entries {missing[:5]} of {len(molecules)} are no molecules; "
            "pass at least one, with the invalid ones left out"
        )
    if captions is not None and len(captions) != len(molecules):
        raise ValueError(f"{len(captions)} captions for {len(molecules)} molecules; give one each")
    if columns < 1:
        raise ValueError(f"columns is {columns}; it must be at least 1")
    columns = min(columns, len(molecules))
    rows = -(-len(molecules) // columns)
    if max(columns * WIDTH, rows * HEIGHT) > LARGEST:
        raise ValueError(f"{len(molecules)} molecules in {columns} columns exceed {LARGEST} pixels; draw fewer at once")
    canvas = rdMolDraw2D.MolDraw2DCairo(columns * WIDTH, rows * HEIGHT, WIDTH, HEIGHT)
    options: Any = canvas.drawOptions()  # its stubs give every option the type of the whole
    options.padding, options.bondLineWidth, options.legendFontSize, options.legendFraction = 0.06, 2, 18, 0.12
    options.minFontSize = 12
    # rdkit prepares (kekulises, lays out) copies, so the caller's molecules stay as they are.
    drawable = [rdMolDraw2D.PrepareMolForDrawing(molecule) for molecule in molecules]
    options.prepareMolsBeforeDrawing = False
    canvas.DrawMolecules(drawable, legends=list(captions) if captions is not None else [""] * len(drawable))
    canvas.FinishDrawing()
    picture = canvas.GetDrawingText()
    if path is not None:
        write_atomic(path, picture)
    return picture
