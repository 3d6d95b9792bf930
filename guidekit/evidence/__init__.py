"""Evidence: what is claimed of each method, as programs that measure it, and the page that tells how they came out.

A file `002_cfg.py` of this folder holds the claim of row 2 of `rows.toml`: `CLAIM`, a `Claim`, and what measures it for
one seed. `guidekit bench evidence row=2` runs it and writes `docs/evidence/002.json`; `docs/methods.md` is made from
these files. Nobody writes a status by hand.
"""
