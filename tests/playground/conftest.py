"""MicroGPTs on a page."""

from micro_runs import documents, train, trained, words

__all__ = ["documents", "train", "trained", "words"]
