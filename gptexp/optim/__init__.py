"""Optimizers, schedules, gradients."""
