"""`python -m launch` is `stepmill`, also where the command is not installed."""

from launch.cli.main import main

main()
