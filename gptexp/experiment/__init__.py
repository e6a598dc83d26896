"""One run from its config."""
