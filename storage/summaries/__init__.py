"""What the commits of whole blocks of shards say, in one object each."""
