"""`gptexp VERB`: look at runs that exist, and at configs before they run."""

from gptexp.cli.app import main

__all__ = ["main"]
