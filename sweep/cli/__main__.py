"""`python -m sweep.cli`: the command `sweep`, from a checkout that is not installed."""

from sweep.cli.app import main

main()
