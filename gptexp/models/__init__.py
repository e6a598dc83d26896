"""The models, what they have and cost."""
