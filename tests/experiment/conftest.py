"""MicroGPTs to be evaluated, and runs to be judged."""

from chat_runs import chat_config, chat_run
from judged_runs import judge
from micro_runs import documents, foreign, train, trained, words

__all__ = ["chat_config", "chat_run"]
__all__ += ["documents", "foreign", "judge", "train", "trained", "words"]
