"""Where curves and samples go."""
