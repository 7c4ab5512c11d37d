"""Why an engine died, out of what vLLM and torch really write when it does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from actors.engines.log import ENGINE_LOG, KEPT, EngineLog, cause_of

CORE = "(EngineCore pid=322) ERROR 11-26 05:04:06 [core.py:1510] "
WORKER = "(Worker_TP1 pid=577) ERROR 11-26 05:04:06 [multiproc_executor.py:953] "
GIVEN_UP = RuntimeError(
    "Engine core initialization failed. See root cause above. "
    "Failed core proc(s): {'EngineCore': 1}"
)
KILLED = RuntimeError(
    "Engine core initialization failed. See root cause above. "
    "Failed core proc(s): {'EngineCore': -9}"
)


@pytest.mark.parametrize(
    ("written", "error", "said", "hopeless"),
    [
        pytest.param(
            f"{CORE}EngineCore failed to start.\n{CORE}Traceback (most recent call last):\n"
            f"{CORE}  File \"x.py\", line 3, in run\n{CORE}ValueError: Available memory on node 0 "
            "(19.69/22.59 GiB) on kv cache allocation is less than requested memory for kv "
            "(4000.0 GiB). Decrease --kv-cache-memory-bytes.\n",
            GIVEN_UP,
            r"Available memory on node 0 \(19.69/22.59 GiB\) on kv cache .* \(4000.0 GiB\)",
            True,
            id="KV cache larger than the machine",
        ),
        pytest.param(
            f"{CORE}ValueError: Free memory on device cuda:0 (8.2/79.2 GiB) on startup is less "
            "than desired GPU memory utilization (0.9, 71.3 GiB). Decrease GPU memory utilization "
            "or reduce GPU memory used by other processes.\n",
            GIVEN_UP, r"^Free memory on device cuda:0 \(8.2/79.2 GiB\)", True, id="card in use",
        ),
        pytest.param(
            f"{WORKER}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 260.00 MiB. "
            f"GPU 1 has a total capacity of 79.19 GiB\n{CORE}Exception: WorkerProc initialization "
            "failed due to an exception in a background process. See stack trace for root cause.\n",
            GIVEN_UP, "^OutOfMemoryError: CUDA out of memory. Tried to allocate 260.00 MiB", True,
            id="memory of a tensor-parallel worker",
        ),
        pytest.param(
            f"{CORE}RuntimeError: The NVIDIA driver on your system is too old (found version "
            "12020). Please update your GPU driver\n",
            GIVEN_UP, "^The NVIDIA driver on your system is too old", True, id="driver",
        ),
        pytest.param(
            f"{CORE}torch.AcceleratorError: CUDA error: no kernel image is available for execution "
            "on the device\n",
            GIVEN_UP, "no kernel image is available", True, id="no kernels for this GPU",
        ),
        pytest.param(
            f"{CORE}ValueError: To serve at least one request with the model's max seq len "
            "(131072), (16.0 GiB KV cache is needed, which is larger than the available KV cache "
            "memory (9.1 GiB).\n",
            GIVEN_UP, "^To serve at least one request", True, id="context too long for the card",
        ),
        pytest.param(
            f"{CORE}KeyError: 'model.layers.0.mlp.experts'\n", GIVEN_UP,
            "^KeyError: 'model.layers", True, id="weights that are not the model's",
        ),
        pytest.param(
            f"{CORE}torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n",
            GIVEN_UP, "illegal memory access", False, id="a fault of the GPU may pass",
        ),
        pytest.param(
            f"{CORE}OSError: [Errno 5] Input/output error\n", GIVEN_UP, "Input/output error", False,
            id="a disk's trouble may pass",
        ),
        pytest.param("", KILLED, r"killed by signal 9 \(out of the machine's memory\?\)", False,
                     id="killed"),
        pytest.param("", GIVEN_UP, "Engine core initialization failed", False, id="no word"),
        pytest.param(
            "UserWarning: something: old\nTypeError: first\n", ValueError("and then this"),
            "^and then this$", True, id="what its owner raised stands last",
        ),
    ],
)  # fmt: skip
def test_the_root_cause_is_found_and_whether_another_try_is_any_use(
    written: str, error: Exception, said: str, hopeless: bool
) -> None:
    cause = cause_of(written, error)
    assert re.search(said, cause.said), cause.said
    assert cause.hopeless is hopeless
    assert "\n" not in cause.said


def test_what_processes_write_is_heard_passed_on_and_only_its_end_is_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = EngineLog(tmp_path)
    child = (
        "import os, sys; from actors.engines.log import write_to_log; write_to_log();"
        "sys.stderr.write('x' * 200_000 + 'the end'); sys.stderr.flush();"
        "os.system('echo a grandchild >&2')"
    )
    subprocess.run(
        [sys.executable, "-c", child], env=os.environ | {ENGINE_LOG: str(log.path)}, check=True
    )
    log.close()
    log.close()
    assert log.text().endswith("the enda grandchild\n")
    assert len(log.text()) == KEPT
    assert capfd.readouterr().err.count("x") == 200_000
