"""What runs on machines: workers, engines, sandboxes, graders, trainings."""

import os

# Ray reads these when it is imported, by whichever module of ours comes first: a private cluster
# answers this user's token only.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Ray starts workers at niceness 15: an engine would wait for everything else on the machine.
os.environ.setdefault("RAY_worker_niceness", "0")
