"""Where bytes are kept: one contract, four stores."""
