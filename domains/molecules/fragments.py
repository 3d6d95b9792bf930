"""Fragments of molecules, and the ways in which a SMILES spells them with more atoms at their attachment points.

A spelling is the fragment written in one go: its symbols in order, with gaps where other atoms come. RDKit writes it
from many orders of the atoms, so that spellings are those of its canonical SMILES, from wherever they begin.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import random
from collections.abc import Sequence

from rdkit import Chem, rdBase

from guidekit.processes.languages import RuleError

from .notation import SMILES

ORDERS = 400
"""Orders of atoms from which a fragment is written."""
MOST_HYDROGENS = 2
"""Hydrogens of an atom in whose place others may come, where a fragment names no attachment points."""


@dataclasses.dataclass(frozen=True)
class Gap:
    """A place where other atoms come.

    Args:
        needed: whether there are some.
        aromatic: whether they hang on an aromatic atom by a bond that is not written.
        bonded: whether their bond is written in front of them.
    """

    needed: bool
    aromatic: bool
    bonded: bool = False


Spelling = tuple[str | Gap, ...]
"""Symbols and gaps in order. A gap in front is what comes before, at the end what comes behind; others are inside."""


@dataclasses.dataclass(frozen=True)
class Fragment:
    """Atoms that a molecule holds, with others at attachment points [*] or, without any, in place of hydrogens.

    Args:
        text: SMILES.

    Raises:
        RuleError: it cannot be read, or is something that spelling does not keep: several components, stereochemistry,
            isotopes, an attachment point with several bonds.
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse what is none."""
        self.molecule  # noqa: B018

    @functools.cached_property
    def molecule(self) -> Chem.Mol:
        """The fragment with attachment points as atoms of number 0."""
        with rdBase.BlockLogs():
            found = Chem.MolFromSmiles(self.text)
        if found is None:
            raise RuleError(f"{self.text!r} is no SMILES of a fragment, such as c1ccccc1[*]")
        for atom in found.GetAtoms():
            atom.SetAtomMapNum(0)
            if atom.GetAtomicNum() == 0:
                atom.SetIsotope(0)
                if atom.GetDegree() != 1:
                    raise RuleError(f"{self.text!r}: an attachment point [*] has one bond, to an atom of the fragment")
            elif atom.GetIsotope() or atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED:
                raise RuleError(f"{self.text!r} names isotopes or stereochemistry, which are not kept; leave them out")
        if any(bond.GetStereo() > Chem.BondStereo.STEREOANY for bond in found.GetBonds()):
            raise RuleError(f"{self.text!r} names stereochemistry, which is not kept; leave it out")
        if len(Chem.GetMolFrags(found)) != 1 or all(atom.GetAtomicNum() == 0 for atom in found.GetAtoms()):
            raise RuleError(f"{self.text!r} is no single fragment; give several as a list")
        return found

    @property
    def attached(self) -> bool:
        """Whether it names attachment points."""
        return any(atom.GetAtomicNum() == 0 for atom in self.molecule.GetAtoms())

    @property
    def heavy(self) -> int:
        """Its atoms besides hydrogen, attachment points left out."""
        return sum(atom.GetAtomicNum() > 1 for atom in self.molecule.GetAtoms())

    @functools.cached_property
    def spellings(self) -> list[Spelling]:
        """Different ones, those first that more orders of the atoms lead to."""
        open_ones = self._opened()
        count = open_ones.GetNumAtoms()
        shuffled, found = random.Random(0), collections.Counter[Spelling]()
        points = [atom.GetIdx() for atom in open_ones.GetAtoms() if atom.GetAtomicNum() == 0]
        for i in range(ORDERS):
            order = list(range(1, count + 1))
            shuffled.shuffle(order)
            root = points[i // 2 % len(points)] if i % 2 and points else -1
            found[self._spelled(open_ones, order, root)] += 1
        return [spelling for spelling, _ in found.most_common()]

    @functools.cached_property
    def pattern(self) -> Chem.Mol:
        """What matches molecules that hold the fragment, attachment points as any atom.

        Where there are several attachment points, a ring may be closed from one to another, in which single and double
        bonds become aromatic ones: these match too, as they are a bond of a Kekule structure.
        """
        points = [atom for atom in self.molecule.GetAtoms() if atom.GetAtomicNum() == 0]
        ring = not points or len(points) > 1
        found = Chem.RWMol(self.molecule)
        for atom in self.molecule.GetAtoms():
            number, index = atom.GetAtomicNum(), atom.GetIdx()
            if not number:
                found.ReplaceAtom(index, Chem.AtomFromSmarts("[!#1]"))
                continue
            shape = "" if ring and not atom.GetIsAromatic() else "a" if atom.GetIsAromatic() else "A"
            degree = f";d{atom.GetDegree()}" if points else ""
            kind = f";{shape}" if shape else ""
            found.ReplaceAtom(index, Chem.AtomFromSmarts(f"[#{number}{kind}{degree};{atom.GetFormalCharge():+d}]"))
        for bond in self.molecule.GetBonds():
            symbol = {Chem.BondType.SINGLE: "-", Chem.BondType.DOUBLE: "=", Chem.BondType.TRIPLE: "#"}.get(
                bond.GetBondType(), ":"
            )
            smarts = f"{symbol},:" if ring and symbol in "-=" else symbol
            found.ReplaceBond(bond.GetIdx(), Chem.BondFromSmarts(smarts))
        return found.GetMol()

    def held_by(self, molecule: Chem.Mol) -> bool:
        """Whether a molecule holds the fragment."""
        return molecule.HasSubstructMatch(self.pattern)

    def _opened(self) -> Chem.Mol:
        """The fragment with an attachment point for every hydrogen where it names none."""
        if self.attached:
            return self.molecule
        found = Chem.RWMol(self.molecule)
        for atom in self.molecule.GetAtoms():
            for _ in range(0 if atom.GetNumExplicitHs() else min(atom.GetTotalNumHs(), MOST_HYDROGENS)):
                found.AddBond(atom.GetIdx(), found.AddAtom(Chem.Atom(0)), Chem.BondType.SINGLE)
        Chem.SanitizeMol(found)
        return found.GetMol()

    def _spelled(self, molecule: Chem.Mol, order: Sequence[int], root: int) -> Spelling:
        """That of one order of the atoms, numbers 1 .. N, from the atom `root` on; -1 is the first of the order."""
        numbered = Chem.Mol(molecule)
        for atom, number in zip(numbered.GetAtoms(), order, strict=True):
            atom.SetAtomMapNum(number)
        place = {number: i for i, number in enumerate(order)}
        own = symbols_of(molecule)
        found: list[str | Gap] = []
        for symbol in SMILES.split(Chem.MolToSmiles(numbered, rootedAtAtom=root)):
            if ":" not in symbol or symbol == ":":
                found.append(symbol)
                continue
            atom = molecule.GetAtomWithIdx(place[int(symbol[symbol.rindex(":") + 1 : -1])])
            if atom.GetAtomicNum():
                found.append(own[atom.GetIdx()])
            else:
                bonded = bool(found) and found[-1] in BONDS
                found.append(Gap(self.attached, atom.GetNeighbors()[0].GetIsAromatic(), bonded))
        return tuple(found)


BONDS = frozenset("-=#$:/\\~")


def symbols_of(molecule: Chem.Mol) -> list[str]:
    """How each atom of a molecule is written in its SMILES."""
    text = Chem.MolToSmiles(molecule, canonical=False)
    order = list(molecule.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    atoms = [one for one in SMILES.split(text) if one[0] == "[" or one[0].isalpha() or one == "*"]
    found = [""] * len(atoms)
    for index, symbol in zip(order, atoms, strict=True):
        found[index] = symbol
    return found
