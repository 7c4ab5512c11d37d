"""Builds the root folder that every sandbox sees: an interpreter, its packages, our supervisor.

Invariant: a root folder is built under another name, and renamed after a block has run in it. It
never changes afterwards. Its digest covers path, mode and content of all files but compiled ones.
So machines with the same interpreter and libraries get the same digest.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from actors.sandbox.image.interpreter import PREFIX, Interpreter, ask, running
from actors.sandbox.image.packages import install
from actors.sandbox.image.trial import try_root
from storage.errors import SandboxUnavailable

HERE = Path(__file__).parent
GUEST = HERE.parent / "guest"
PROGRAMS = f"{PREFIX}/bin".lstrip("/")
PYTHON = f"{PREFIX}/bin/python3"
"""Path of the interpreter inside a sandbox."""
ASIDE = "building-"
BUILD_VERSION = "2"
"""Increase it when this file builds something else from the same recipe."""


@dataclass(frozen=True, slots=True)
class RootFolder:
    """A finished root folder."""

    path: Path
    digest: str
    """Digest of its content, `sha256:…`, which a run's spec pins."""

    def check(self, pinned: str) -> None:
        """Raise SandboxUnavailable if a run pins another digest."""
        if pinned not in ("", self.digest):
            raise SandboxUnavailable(f"the run pins image {pinned}, this is {self.digest}")


def state_dir(setting: str = "") -> Path:
    """The folder of root folders and of the private engine."""
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


def build_root(state: Path, python: str = "") -> RootFolder:
    """Return the root folder of this checkout and of interpreter `python`; "": the running one.

    Builds what is missing. Blocks for seconds.
    """
    interpreter = ask(python or running())
    identity = f"{BUILD_VERSION} {interpreter.identity}"
    base_key = _digest_of([(HERE / "recipe.yaml").read_bytes(), identity.encode()])
    guests = [path.read_bytes() for path in sorted(GUEST.glob("*.py"))]
    key = _digest_of([base_key.encode(), *guests])
    roots = state / "roots"
    target = roots / key[:16]
    if not (target / "digest").exists():
        roots.mkdir(parents=True, exist_ok=True)
        with _lock(roots / "lock"):
            if not (target / "digest").exists():
                _build(target, roots / f"base-{base_key[:16]}", interpreter)
    return RootFolder(target / "root", (target / "digest").read_text().strip())


def _build(target: Path, base: Path, interpreter: Interpreter) -> None:
    """Build while holding the lock, so that leftovers here are those of dead processes."""
    for left in target.parent.glob(f"{ASIDE}*"):
        shutil.rmtree(left, ignore_errors=True)
    if not base.exists():
        _build_aside(base, lambda place: _fill_base(place, interpreter))
    try:
        _build_aside(target, lambda place: _fill(place, base, interpreter))
    except SandboxUnavailable:
        # What the interpreter missed may be there next time: copy it anew.
        shutil.rmtree(base, ignore_errors=True)
        raise


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


def _build_aside(target: Path, fill: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=ASIDE) as folder:
        place = Path(folder) / "place"
        place.mkdir(mode=0o755)
        fill(place)
        if target.exists():
            shutil.rmtree(target)
        place.rename(target)


def _fill(place: Path, base: Path, interpreter: Interpreter) -> None:
    """Link the base's files, add the supervisor, and run a block in the result."""
    root = place / "root"
    shutil.copytree(base, root, symlinks=True, copy_function=os.link)
    package = root / interpreter.packages / "stepmill_guest"
    shutil.copytree(GUEST, package, ignore=shutil.ignore_patterns("__pycache__"))
    _compile(package, root, interpreter)
    _open_to_all(package)
    try_root(root, interpreter, recipe()["modules"])
    (place / "digest").write_text(f"sha256:{_tree_digest(root)}\n")


def _fill_base(root: Path, interpreter: Interpreter) -> None:
    plan = recipe()
    for folder in [*plan["folders"], "lib", PROGRAMS, interpreter.packages]:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for link, aim in plan["links"].items():
        (root / link).symlink_to(aim)
    for name, text in plan["files"].items():
        (root / name).write_text(text)
    install(plan["packages"], root / interpreter.packages, interpreter)
    shutil.copytree(
        interpreter.standard,
        root / interpreter.library,
        ignore=_ignore(plan["leave_out"]),
        ignore_dangling_symlinks=True,
        dirs_exist_ok=True,
    )
    shutil.copy2(interpreter.program, root / PROGRAMS / interpreter.name)
    for name in ("python3", "python"):
        (root / PROGRAMS / name).symlink_to(interpreter.name)
    _copy_libraries(root, interpreter, plan["libraries"])
    _compile(root / interpreter.library, root, interpreter)
    _compile(root / interpreter.packages, root, interpreter)
    _open_to_all(root)
    (root / "tmp").chmod(0o1777)


def _open_to_all(folder: Path) -> None:
    """Let all users read, and only the owner write, independent of this process's umask."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def _ignore(patterns: list[str]) -> Any:
    def ignored(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if any(fnmatch.fnmatch(name, p) for p in patterns)}

    return ignored


def _compile(folder: Path, root: Path, interpreter: Interpreter) -> None:
    # Not checked against their sources again: the folder never changes.
    command = [interpreter.program, "-I", "-S", "-m", "compileall", "-q"]
    command += ["-j", str(os.cpu_count() or 1)]
    command += ["--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/"]
    subprocess.run([*command, str(folder)], check=False, stdout=subprocess.DEVNULL)


def _copy_libraries(root: Path, interpreter: Interpreter, further: list[str]) -> None:
    """Copy the shared libraries that interpreter, modules and packages load, each name once.

    For the interpreter's own modules the originals are inspected, since a library may be found by
    its place beside them. Their libraries go before others of the same name.
    """
    library, packages = root / interpreter.library, root / interpreter.packages
    copied = [path for path in sorted(library.rglob("*.so*")) if packages not in path.parents]
    originals = [Path(interpreter.standard, path.relative_to(library)) for path in copied]
    installed = sorted(packages.rglob("*.so*"))
    output = _call(["ldd", interpreter.program, *map(str, originals)])
    output += _call(["ldd", *map(str, installed)])
    libraries = re.findall(r"(?:=> )?(/\S+) \(0x", output)
    cache = _call(["/sbin/ldconfig", "-p"])
    for name in further:
        libraries += re.findall(rf"{re.escape(name)} .*=> (\S+)", cache)[:1]
    for path in libraries:
        copy = root / "lib" / os.path.basename(path)
        if not path.startswith(f"{root}/") and not copy.exists():
            shutil.copy2(os.path.realpath(path), copy)


def _call(command: list[str]) -> str:
    """Return what a program printed, also if it failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise SandboxUnavailable(f"image: {command[0]}: {error}") from error


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
