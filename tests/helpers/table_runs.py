"""Runs written by hand for a table."""

from run_directories import write_run


def grid(folder, lrs=(0.1, 0.2), seeds=(0, 1, 2)):
    """Best losses 1 + lr + seed / 10."""
    for lr in lrs:
        for seed in seeds:
            write_run(folder, seed, 1 + lr + seed / 10, optim__lr=lr, test=2 + seed / 10)
    return folder
