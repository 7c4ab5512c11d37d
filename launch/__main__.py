"""`python -m launch` is `stepmill`, also where the command is not installed."""

from launch.cli import main

main()
