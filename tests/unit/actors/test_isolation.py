"""What a stage was given, item by item, after each kind of stage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from actors.workers.poison import entered
from storage.rows.tree_records import TreeNode
from storage.runs.run import Run
from workflows.stages import road_of


def node(node_id: str, leaf: bool) -> TreeNode:
    return TreeNode(
        node_id, None, "p1", ["a"], "a", 0.5, 4, 2, None, 0 if leaf else 1, leaf, "m", 0, 3
    )


@pytest.mark.parametrize("after", ["label", "rationalize"])
def test_a_search_hands_on_its_leaves(after: str) -> None:
    names = ("sample", "search", after, *(("consensus", "export") if after == "label" else ()))
    road_of(names)  # such a road exists
    run = SimpleNamespace(
        spec=SimpleNamespace(stages=("problems", *names)),
        commit=lambda stage, shard: SimpleNamespace(drops=()),
        rows_of=lambda commit, kind: [node("p1#t0", leaf=False), node("p1#0", leaf=True)],
    )
    assert entered(cast("Run", cast("Any", run)), after, 0) == ("p1#0",)
