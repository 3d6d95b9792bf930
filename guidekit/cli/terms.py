"""Answers in the words of the command line: what is written in Python there is written by name here."""

from __future__ import annotations

import re

from guidekit import registry

NESTED = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
"""Brackets with what is in them, two deep."""

ENGLISH = ("Each", "Table", "Steps")
"""Names that are words as well: they are ours only where brackets follow."""


def in_terms(text: str) -> str:
    """A message of the library with names of guidances and samplers as settings.

    `use Ancestral or DDIM(eta=1.0)` becomes `use sampler=ancestral or sampler=ddim`, and `chain(CFG(...), DPS)` becomes
    `guidance=chain 'guidance.of=[cfg,dps]'`.
    """
    names = {entry.attribute: (group, name) for group in GROUPS for name, entry in registry.entries(group).items()}
    words = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    call = re.compile(rf"(?:\bsampler )?\b({words})\b({NESTED})?")

    def together(match: re.Match[str]) -> str:
        members = [names[one.group(1)][1] for one in call.finditer(match.group(1))]
        return f"guidance=chain 'guidance.of=[{','.join(members)}]'"

    def single(match: re.Match[str]) -> str:
        if match.group(1) in ENGLISH and match.group(2) is None:
            return match.group(0)
        return "=".join(names[match.group(1)])

    text = re.sub(rf"\bchain({NESTED})", together, text)
    return call.sub(single, text)


GROUPS = ("guidance", "sampler")
