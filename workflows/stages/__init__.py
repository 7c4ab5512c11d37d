"""The stages: what each makes of one shard."""
