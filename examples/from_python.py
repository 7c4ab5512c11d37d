"""Stepmill from Python, from problems to a folder of examples: `python examples/from_python.py`.

    python examples/from_python.py [CONFIG [STORE [FOLDER]]]

CONFIG is `configs/demo.yaml` by default. Stop it at any moment: the next call goes on.
"""

from __future__ import annotations

import sys
from collections import Counter

import polars as pl

import stepmill


def main(config_file: str, store: str, folder: str) -> None:
    """Build, look, download."""
    config = stepmill.load(config_file, store=store)
    run = stepmill.build(config)

    opened = stepmill.open_run(run.name, store)
    for stage in opened.status().stages:
        print(f"{stage.stage}: {stage.rows} rows, {sum(stage.drops.values())} dropped")

    labels = opened.scan("label").select("path_id", pl.col("labels").list.len().alias("steps"))
    wrong = opened.scan("label").filter(pl.col("first_error").is_not_null())
    print(f"{wrong.select(pl.len()).collect().item()} solutions have a wrong step")
    print(f"{labels.select(pl.col('steps').mean()).collect().item():.1f} steps in a solution")

    for path_id in opened.drops().select("item").head(3).collect()["item"]:
        print(opened.why(path_id))

    first_errors = Counter(example.first_error for example in opened.examples())
    print(f"examples by their first wrong step: {dict(first_errors)}")

    made = stepmill.download(run, folder)
    print(f"{made.rows} rows lie in {made.folder}")


DEFAULTS = ("configs/demo.yaml", "file:.stepmill/runs", "dataset")

if __name__ == "__main__":
    given = sys.argv[1:]
    try:
        main(*given, *DEFAULTS[len(given) :])
    except stepmill.StepmillError as error:
        sys.exit(str(error))
