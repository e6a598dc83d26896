"""`python -m gptexp.cli`, where the command `gptexp` is not on the path."""

from gptexp.cli.app import main

main()
