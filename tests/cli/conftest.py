"""Fixtures of these tests that are at home in helpers/."""

from chat_runs import chat_config, chat_run

__all__ = ["chat_config", "chat_run"]
