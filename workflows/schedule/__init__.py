"""Which shard and worker start next, on which node, and how failures are handled."""
