#!/bin/bash
# A build on the nodes of a Slurm job: Ray's head on the first node, Ray on all of them, and
# `stepmill build` beside the head. Submitted from a clone of the project:
#
#   sbatch --nodes=4 --gpus-per-node=8 --time=24:00:00 launch/slurm.sh CONFIG [OPTIONS of build]
#
# The same command continues a run, however it ended. When the time is nearly up the build is
# stopped and the job queued again by itself; `scancel --batch --signal=TERM JOB` stops the build and
# lets Ray go after it, plain `scancel JOB` ends both at once.
#
#   STEPMILL_VENV         the environment that install.sh made, on every node (~/venv)
#   RAY_AUTH_TOKEN_PATH   a file that every node reads; made where it is missing (~/.ray/auth_token)
#   METRICS_PORT          where Prometheus looks on every node (8080)
#
#SBATCH --job-name=stepmill
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

if [ -z "${SLURM_JOB_ID:-}" ] || [ $# = 0 ]; then
  echo "usage: sbatch --nodes=N --gpus-per-node=N $0 CONFIG [OPTIONS of stepmill build]" >&2
  exit 2
fi
# shellcheck source=/dev/null
. "${STEPMILL_VENV:-$HOME/venv}/bin/activate"

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
  mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")"
  (umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' > "$RAY_AUTH_TOKEN_PATH")
fi

head=$(python -c 'from ray.util import get_node_ip_address; print(get_node_ip_address())')
export head port=$((20000 + SLURM_JOB_ID % 10000)) METRICS_PORT=${METRICS_PORT:-8080}

# /tmp/ray may be another user's, and unix sockets want a short path.
srun --kill-on-bad-exit=0 --cpu-bind=none bash -c '
  folder=/tmp/ray-$SLURM_JOB_ID
  trap "rm -rf $folder" EXIT
  ulimit -n "$(ulimit -Hn)"
  if [ "$SLURM_PROCID" = 0 ]; then
    where="--head --node-ip-address=$head --port=$port --disable-usage-stats"
  else
    until (exec 3<>"/dev/tcp/$head/$port") 2>/dev/null; do sleep 1; done
    where="--address=$head:$port"
  fi
  ray start $where --temp-dir="$folder" --log-color=false --metrics-export-port=$METRICS_PORT --block' &
ray=$!

python -m launch.cluster.gathering "$head:$port" "$SLURM_JOB_NUM_NODES"
stepmill build "$@" --address "$head:$port" &
build=$!
again=
trap 'kill -TERM $build' TERM INT
trap 'again=1; kill -TERM $build' USR1
while kill -0 $build 2>/dev/null; do wait $build || true; done
code=0
wait $build || code=$?
trap - TERM INT USR1

# What is committed is in the store, so Ray may end at once.
kill -TERM $ray || true
wait $ray || true
srun rm -rf "/tmp/ray-$SLURM_JOB_ID"
if [ "$again" ] && [ $code = 130 ]; then
  scontrol requeue "$SLURM_JOB_ID"
  exec sleep 60  # until Slurm ends this script: one that fails by itself is not started again
fi
if [ $code = 3 ] || [ $code = 130 ]; then
  echo "the build ended with code $code: the same sbatch command continues it" >&2
fi
exit $code
