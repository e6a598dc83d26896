"""A page with the model inside, which a browser runs without a network."""
