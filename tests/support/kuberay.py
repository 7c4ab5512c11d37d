"""KubeRay's worker groups, as the pods read them."""

from __future__ import annotations

import json
import shlex
from typing import Any


def custom(group: dict[str, Any]) -> dict[str, float]:
    """Custom resources as `ray start` gets them: the value goes through a shell."""
    (words,) = shlex.split(group["rayStartParams"]["resources"])
    resources: dict[str, float] = json.loads(words)
    return resources
