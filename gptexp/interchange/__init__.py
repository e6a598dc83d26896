"""Runs to and from other programs."""
