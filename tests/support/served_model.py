"""A real `vllm serve` of a small model, on a processor."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.support.ports import free_port

STARTED_WITHIN_S = 600.0


@contextlib.contextmanager
def served(model: Path, name: str, log: Path) -> Iterator[str]:
    """The URL of its API, from when it is healthy until it is gone again."""
    port = free_port()
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "vllm.entrypoints.openai.api_server",  # as `vllm serve`
                "--model", str(model), "--served-model-name", name,
                "--host", "127.0.0.1", "--port", str(port),
                "--dtype", "float32", "--enforce-eager",
                "--no-enable-chunked-prefill",  # seeds and chunks: see actors.engines.vllm_core
            ],
            env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            _healthy(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                started = psutil.Process(process.pid).children(recursive=True)
                process.terminate()
                _, left = psutil.wait_procs([psutil.Process(process.pid), *started], 30)
                for one in left:
                    one.kill()
            process.wait()


def _healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.2)
    raise AssertionError(f"vllm serve did not start:\n{log.read_text()[-3000:]}")
