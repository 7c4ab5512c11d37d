"""From a finished run to a trained verifier."""
