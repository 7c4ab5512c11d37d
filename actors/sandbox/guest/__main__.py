"""Entry of a sandbox: its first process."""

from .supervisor import main

raise SystemExit(main())
