"""Work on shards: the contract of a stage, the worker, and workers as Ray actors."""
