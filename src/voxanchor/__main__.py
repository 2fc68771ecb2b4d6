"""Lets ``python -m voxanchor`` be the command line."""

from voxanchor.cli.main import main

main()
