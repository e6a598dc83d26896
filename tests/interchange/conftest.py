"""MicroGPTs to be exported and imported."""

from micro_runs import documents, foreign, train, trained, words

__all__ = ["documents", "foreign", "train", "trained", "words"]
