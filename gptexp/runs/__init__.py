"""A run is its directory."""
