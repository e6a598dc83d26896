"""How the loss of trained models goes with their size and their data: laws, fitted and judged."""
