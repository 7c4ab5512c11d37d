"""Builds the root folder that every sandbox sees: an interpreter, three packages, our supervisor.

Invariant: a root folder is complete or it is not there (built aside, then renamed), and is never
changed afterwards. Its digest covers the path, mode and content of every file in it but compiled
ones, so that two machines with the same interpreter and libraries agree on it.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from storage.errors import SandboxUnavailable

HERE = Path(__file__).parent
GUEST = HERE.parent / "guest"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY = f"usr/local/lib/{PYTHON}"
PACKAGES = f"{LIBRARY}/site-packages"
BUILD_VERSION = "1"
"""Raised when this file builds something else from the same recipe."""


@dataclass(frozen=True, slots=True)
class RootFolder:
    """A finished root folder."""

    path: Path
    key: str
    """Digest of what it was built from: known before building."""
    digest: str
    """Digest of what is in it: `sha256:…`, pinned in a run's specification."""

    def check(self, pinned: str) -> None:
        """Raise SandboxUnavailable where a run pins another digest."""
        if pinned not in ("", self.digest):
            raise SandboxUnavailable(f"the run pins image {pinned}, this is {self.digest}")


def state_dir(setting: str = "") -> Path:
    """Where root folders and the private engine live."""
    if setting or (setting := os.environ.get("STEPMILL_SANDBOX_DIR", "")):
        return Path(setting).absolute()
    if os.geteuid() == 0:
        # Not below /root: a sandbox that gives up root must still reach its root folder.
        return Path("/var/lib/stepmill/sandbox")
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stepmill/sandbox"


def recipe() -> dict[str, Any]:
    """Read the recipe."""
    plan: dict[str, Any] = yaml.safe_load((HERE / "recipe.yaml").read_text())
    return plan


def build_root(state: Path) -> RootFolder:
    """Return the root folder of this checkout, building what is missing. Blocks; seconds."""
    base_key = _digest_of([(HERE / "recipe.yaml").read_bytes(), _interpreter().encode()])
    guests = [path.read_bytes() for path in sorted(GUEST.glob("*.py"))]
    key = _digest_of([base_key.encode(), *guests])
    roots = state / "roots"
    target = roots / key[:16]
    if not (target / "digest").exists():
        roots.mkdir(parents=True, exist_ok=True)
        with _lock(roots / "lock"):
            base = roots / f"base-{base_key[:16]}"
            if not base.exists():
                _build_aside(base, _fill_base)
            if not (target / "digest").exists():
                _build_aside(target, lambda place: _fill(place, base))
    return RootFolder(target / "root", key, (target / "digest").read_text().strip())


def _interpreter() -> str:
    libc = platform.libc_ver()
    return f"{BUILD_VERSION} {sys.version} {platform.machine()} {libc[0]}-{libc[1]}"


def _digest_of(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_aside(target: Path, fill: Any) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as folder:
        place = Path(folder) / "place"
        place.mkdir(mode=0o755)
        fill(place)
        if target.exists():
            shutil.rmtree(target)
        place.rename(target)


def _fill(place: Path, base: Path) -> None:
    """Link the base's files and add our supervisor."""
    root = place / "root"
    shutil.copytree(base, root, symlinks=True, copy_function=os.link)
    package = root / PACKAGES / "stepmill_guest"
    shutil.copytree(GUEST, package, ignore=shutil.ignore_patterns("__pycache__"))
    _compile(package, root)
    (place / "digest").write_text(f"sha256:{_tree_digest(root)}\n")


def _fill_base(root: Path) -> None:
    plan = recipe()
    for folder in [*plan["folders"], "lib", "usr/local/bin", PACKAGES]:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for link, aim in plan["links"].items():
        (root / link).symlink_to(aim)
    for name, text in plan["files"].items():
        (root / name).write_text(text)
    standard = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix}))
    shutil.copytree(standard, root / LIBRARY, ignore=_ignore(plan["leave_out"]), dirs_exist_ok=True)
    _install(plan["packages"], root / PACKAGES)
    binary = Path(os.path.realpath(sys.executable))
    shutil.copy2(binary, root / "usr/local/bin" / PYTHON)
    for name in ("python3", "python"):
        (root / "usr/local/bin" / name).symlink_to(PYTHON)
    _copy_libraries(root, binary, plan["libraries"])
    _compile(root / LIBRARY, root)
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    (root / "tmp").chmod(0o1777)


def _ignore(patterns: list[str]) -> Any:
    def ignored(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if any(fnmatch.fnmatch(name, p) for p in patterns)}

    return ignored


def _install(packages: list[str], target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps"]
    command += ["--disable-pip-version-check", "--root-user-action=ignore"]
    command += ["--only-binary", ":all:", "--target", str(target), *packages]
    _call(command)
    for folder in [path for path in target.rglob("tests") if path.is_dir()]:
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(target / "bin", ignore_errors=True)


def _compile(folder: Path, root: Path) -> None:
    # Not checked against their sources again: the folder never changes.
    command = [sys.executable, "-m", "compileall", "-q", "-j", str(os.cpu_count() or 1)]
    command += ["--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/"]
    subprocess.run([*command, str(folder)], check=False, stdout=subprocess.DEVNULL)


def _copy_libraries(root: Path, binary: Path, further: list[str]) -> None:
    modules = [str(path) for path in (root / LIBRARY).rglob("*.so*") if path.is_file()]
    output = _call(["ldd", str(binary), *modules], tolerate=True)
    found = set(re.findall(r"(?:=> )?(/\S+) \(0x", output))
    cache = _call(["/sbin/ldconfig", "-p"], tolerate=True)
    for name in further:
        found.update(re.findall(rf"{re.escape(name)} .*=> (\S+)", cache)[:1])
    for path in found:
        if not path.startswith(str(root)):
            shutil.copy2(os.path.realpath(path), root / "lib" / os.path.basename(path))


def _call(command: list[str], tolerate: bool = False) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SandboxUnavailable(f"image: {command[0]}: {error}") from error
    if done.returncode and not tolerate:
        raise SandboxUnavailable(f"image: {' '.join(command[:4])}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _tree_digest(root: Path) -> str:
    total = hashlib.sha256()
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name != "__pycache__")
        for name in sorted(files + [n for n in names if os.path.islink(os.path.join(folder, n))]):
            path = Path(folder, name)
            content = (
                os.readlink(path).encode()
                if path.is_symlink()
                else hashlib.sha256(path.read_bytes()).digest()
            )
            mode = oct(path.lstat().st_mode)
            total.update(f"{path.relative_to(root)}\0{mode}\0".encode() + content)
    return total.hexdigest()
