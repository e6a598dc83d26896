"""MicroGPTs to be evaluated."""

from micro_runs import documents, train, trained, words

__all__ = ["documents", "train", "trained", "words"]
