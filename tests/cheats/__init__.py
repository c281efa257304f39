"""Contenders that cheat, each in its own way, and honest ones beside them: what the audits are tested on.

One small file each. A cheat's docstring says how it cheats; `CAUGHT` in `corpus.py` says by what it is caught. All are
for `digits-clutter`, whose test half has 500 images, seen in batches of 250.
"""
