"""Everything that goes wrong at 23:40, on purpose: processes killed, the log replayed, networks broken.

    python -m tests.chaos --kills 300 --seed 7        # or: make chaos KILLS=300 SEED=7

`world` starts a whole installation of its own and can kill, restart and cut off each part; `stories` drives many losses
at once through the doors that people use; `checks` says what must be true when all is quiet again. See docs/faults.md.
"""
