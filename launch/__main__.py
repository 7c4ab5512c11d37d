"""`stepmill`, also as `python -m launch`, where the command is not installed."""

from __future__ import annotations

import signal


def main() -> None:
    """Load the verbs and run one. Ctrl-C meanwhile ends the process and prints nothing."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from launch.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
