"""MicroGPTs to be evaluated, and runs to be judged."""

from judged_runs import judge
from micro_runs import documents, foreign, train, trained, words

__all__ = ["documents", "foreign", "judge", "train", "trained", "words"]
