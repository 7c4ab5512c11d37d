"""What flows between stages: records, their schemas, and their Parquet."""
