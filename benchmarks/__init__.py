"""One script per figure, in one of these folders. Run it as `python -m benchmarks.NAME`.

    peers/      the same rows through other pipelines
    labels/     what labels are worth, where the truth is known or drawn often
    engines/    tokens a second, ours over the engine's own
    cluster/    schedule and places in virtual time, and what is killed
    demo/       the demo world: its models, its loop, its strategies
    verifiers/  every kind of process reward model from the same rows
    here        one part of the product each, real models, GPUs, the code itself

A folder has no `__init__`, so that `benchmarks.labels` is the script and not the folder.
"""

from pathlib import Path

FOLDERS = ("peers", "labels", "engines", "cluster", "demo", "verifiers")
__path__ += [str(Path(__file__).parent / folder) for folder in FOLDERS]
