"""What of the working folder goes to a cluster: neither what it doesn't need, nor secrets.

Every node can read what is sent, and the head keeps it.

Invariant: a link that leads out of the folder, and a file that is a secret by its name or begins as
a private key, is not sent unless the configuration names it. A pipe is not sent: Ray would wait for
it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

EXCLUDES = (
    ".venv", ".git", ".stepmill/*", "__pycache__", "*.pyc", "*.egg-info", ".mypy_cache",
    ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache",
)  # fmt: skip
"""Files that are not sent, since the cluster doesn't need them."""
SECRETS = (
    ".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.p12", "*.pfx", "*.ppk", "*.jks",
    "*.keystore", "*.kdbx", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".ssh", ".gnupg",
    ".aws", ".azure", ".gcloud", "gcloud", ".kube", "kubeconfig", "*.kubeconfig", ".docker",
    ".netrc", "_netrc", ".pgpass", ".my.cnf", ".git-credentials", ".npmrc", ".pypirc", ".boto",
    ".s3cfg", ".passwd-s3fs", "rclone.conf", ".huggingface", "token", ".token", "*.token",
    ".vault-token", "credentials", "credentials.*", "*credentials*.json", "client_secret*",
    "service[_-]account*", "secrets", "secrets.*", ".secrets", "*.secret", ".htpasswd",
    "*.tfstate", "*.tfvars",
)  # fmt: skip
"""Files that are secrets by their names."""
_PRIVATE = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|PuTTY-User-Key-File-")
MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Sent:
    """What goes to the cluster, and what stays."""

    files: int
    bytes: int
    kept_back: tuple[str, ...]
    """Secrets, links and pipes that stay here, by their paths in the folder."""

    def said(self, folder: Path) -> str:
        """One line for the user."""
        shown = [repr(name)[1:-1] for name in self.kept_back[:MOST_SHOWN]]
        if more := len(self.kept_back) - len(shown):
            shown.append(f"{more} more")
        stays = f"; kept back as secret: {', '.join(shown)}" if shown else ""
        return f"{self.files:,} files, {self.bytes / 1e6:.1f} MB of {folder} are sent{stays}"


def sent(folder: Path, named: Sequence[str]) -> tuple[tuple[str, ...], Sent]:
    """(what Ray is to leave out, what then goes), as patterns of .gitignore.

    `named`: files that the configuration names, by their paths in the folder; they go.
    """
    wanted = tuple(f"!/{_literal(name)}" for name in named)
    everything = _walked(folder, (*EXCLUDES, *wanted))
    beginning = [name for name in everything if _is_secret(folder, folder / name)]
    excludes = (*EXCLUDES, *SECRETS, *(f"/{_literal(name)}" for name in beginning), *wanted)
    going = _walked(folder, excludes)
    sizes = [(folder / name).stat().st_size for name in going if (folder / name).is_file()]
    stays = dict.fromkeys(name for name in everything if name not in going)
    tops = [name for name in stays if str(Path(name).parent) not in stays]
    return excludes, Sent(len(sizes), sum(sizes), tuple(tops))


def _walked(folder: Path, excludes: Sequence[str]) -> dict[str, None]:
    """Paths below the folder that Ray packs, in order."""
    found: dict[str, None] = {}

    def note(path: Path) -> None:
        if path != folder:
            found[str(path.relative_to(folder))] = None

    _dir_travel(folder, [_get_excludes(folder, list(excludes))], note, include_gitignore=False)
    return dict.fromkeys(sorted(found))


def _is_secret(folder: Path, path: Path) -> bool:
    """Whether a path leads out of the folder, is a pipe or socket, or begins as a private key."""
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(folder):
        return True
    if not path.is_file():
        return path.exists() and not path.is_dir()
    try:
        with path.open("rb") as file:
            return _PRIVATE.match(file.read(64).lstrip()) is not None
    except OSError:
        return False


def _literal(name: str) -> str:
    """A path as a pattern of .gitignore that means itself."""
    escaped = re.sub(r"([\\*?\[\]!#])", r"\\\1", name)
    return re.sub(r" $", r"\\ ", escaped)
