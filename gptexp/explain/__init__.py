"""A text on its way through a model, stage by stage."""
