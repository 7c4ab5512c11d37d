"""Runs of every kind of road can be looked at: trees, provers, panels of judges, repairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launch.browse.server import to_json
from storage.runs.run import Run
from tests.support import judge_strategies, label_strategies
from workflows.browsing.glance import glance
from workflows.browsing.index import Index
from workflows.browsing.path_page import path_page, path_pages
from workflows.looking.fates import fates
from workflows.looking.run import OpenRun


@pytest.fixture(
    scope="module",
    params=[
        "omegaprm",
        "pav",
        "groundedprm",
        "qwen_consensus",
        "spark_meta_critique",
        "int",
        "fover",
    ],
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    name: str = request.param
    folder: Path = tmp_path_factory.mktemp(name)
    if name in label_strategies.NAMES:
        return label_strategies.Build(label_strategies.configured(name, folder)).run
    return judge_strategies.Build(name, folder).run


def test_every_path_is_in_the_list_with_its_fate(run: Run) -> None:
    index = Index(run)
    index.fill()
    listed = {
        row["path_id"]: (row["stage"], row["reason"], row["state"])
        for row in index.frame().iter_rows(named=True)
    }
    assert len(listed) == index.frame().height > 0
    ended = {}
    for shard in range(run.spec.plan.shards):
        for why in fates(run, shard):
            ended[why.path_id] = (why.stage, why.reason, "kept" if why.finished else "dropped")
    assert listed == ended
    assert glance(run, index.frame(), index.figures())["paths"] == len(listed)


def test_every_path_has_a_page_with_its_steps(run: Run) -> None:
    opened, pages = OpenRun(run), list(path_pages(run, 0))
    assert list(path_pages(run, 0, [page["path_id"] for page in pages[::2]])) == pages[::2]
    for page in pages:
        again = json.loads(to_json(page))
        assert again["path"]["steps"]
        if page["labels"]:
            assert (
                len(page["reasons"]) == len(page["labels"]["labels"]) == len(page["path"]["steps"])
            )
        assert path_page(opened, page["path_id"]) == page
        why = opened.why(page["path_id"], 0)
        assert (page["stage"], page["reason"]) == (why.stage, why.reason)
