"""The verbs of the first hour: `init`, and the pages and configurations that are installed."""
