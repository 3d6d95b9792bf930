"""The loop of guided sampling and its nouns: plan -> start -> [denoise -> propose -> move] x steps -> finish.

Everything a hook sees is a value: `Step`, `Question`, `Prediction`, `Kernel`, `Proposal` and `Population` are never
changed in place, `Setup` is frozen before the loop. What changes is kept by objects that no hook writes to: `Network`
counts and asks, `Recorder` collects. B = P * K rows (P groups of K particles, row by row), *S is one state's shape.
"""
