"""Corpora: files, splits, batches."""
