"""Path-level transformation with inherited weights against training from scratch, on digits.

    python benchmarks/path_level.py [--seeds 3] [--trials 16]

Both sides run the strategy `path-level` (random transformations of the best) with the same seeds,
and the same two epochs a trial; one side starts each network with its parent's weights, the other
with random ones. Then the architecture that each side found is trained from scratch for as many
epochs as the whole search took a trial times the steps that lead to it. Writes
benchmarks/results/path-level.json and docs/results/path-level.md; goes on where it was stopped.
"""
