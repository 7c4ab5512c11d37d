"""How many workers a build may have."""

import pytest

from actors.engines.contract import EngineSettings
from workflows.builds.configuration import BuildConfig, ModelSettings
from workflows.runs.configuration import ClusterSettings
from workflows.runs.driving import most_workers


@pytest.mark.parametrize(
    ("kind", "most"),
    [("vllm", 8), ("scripted", 8), ("endpoint", 2)],
)
def test_a_server_elsewhere_gets_few_workers_and_engines_of_ones_own_many(
    kind: str, most: int
) -> None:
    model = EngineSettings(kind=kind, model="m")
    config = BuildConfig(
        run="r",
        problems="p.jsonl",
        models=ModelSettings(policy=model, completer=model, rationale=model),
        cluster=ClusterSettings(workers_per_role=8, workers_per_server=2),
    )
    assert {most_workers(config, role) for role in config.engines} == {most}
