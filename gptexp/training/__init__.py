"""The trainer and what only it needs."""
