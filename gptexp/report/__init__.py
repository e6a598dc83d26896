"""Figures, pages and charts of runs."""
