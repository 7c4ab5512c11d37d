"""verl and OpenRLHF ask a served verifier by their own code, in the versions that are named here.

Each runs in an environment of its own (`tests.support.clients`), against `stepmill serve` as a
process: Ray Serve, HTTP, a token, code that is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepmill import rewards
from tests.scripted_verifier import world_responses
from tests.support.clients import ran
from tests.support.served_process import SCRIPTED, TOKEN, Served, served

pytestmark = [pytest.mark.slow, pytest.mark.container, pytest.mark.timeout(1800)]
POLICY = Path(__file__).parents[2] / "demo" / "models" / "policy"
GIVEN = world_responses()
TEXTS = [
    "\n\n".join(f"Step {at}: {step}" for at, step in enumerate(given.steps, 1)) for given in GIVEN
]
CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served"), *SCRIPTED, "--n", "2") as server:
        yield server


@pytest.fixture(scope="module")
def scores(server: Served) -> list[dict[str, float]]:
    pairs = zip((given.problem for given in GIVEN), TEXTS, strict=True)
    return [server.client().score(*pair, details=False) for pair in pairs]


def test_openrlhfs_rollouts_hold_the_verifiers_reward(
    server: Served, scores: list[dict[str, float]]
) -> None:
    prompts = [CHAT.format(given.problem) for given in GIVEN]
    pairs = [(prompt, f"{text}<|im_end|>") for prompt, text in zip(prompts, TEXTS, strict=True)]
    url = server.url.replace("http://", f"http://any:{TOKEN}@") + "/v1/openrlhf"
    found = ran("openrlhf", {"url": url, "pairs": [*pairs, (prompts[0], "<|im_end|>")]})
    assert [each["reward"] for each in found] == [*(each["score"] for each in scores), 0.0]
    assert [each["scores"] for each in found] == [each["reward"] for each in found]
    assert [each["extra_logs"]["verifier_right"] for each in found[:-1]] == [
        float(each["first_error"] < 0) for each in scores
    ]
    assert len({each["reward"] for each in found}) > 1


def test_verls_reward_manager_gets_the_verifiers_reward(
    server: Served, scores: list[dict[str, float]]
) -> None:
    pairs = [(given.problem, text) for given, text in zip(GIVEN, TEXTS, strict=True)]
    asked = {
        "file": rewards.__file__, "url": server.url, "tokenizer": str(POLICY),
        "pairs": [*pairs, (GIVEN[0].problem, " ")],
    }  # fmt: skip
    found = ran("verl", asked, STEPMILL_TOKEN=TOKEN)
    assert found["texts"][:-1] == TEXTS
    given = [each["reward_score"] for each in found["rewards"]]
    assert given == [*(each["score"] for each in scores), 0.0]
    told = [each["reward_extra_info"] for each in found["rewards"]]
    assert [each["verifier_first_error"] for each in told[:-1]] == [
        each["first_error"] for each in scores
    ]
    assert [each["scored"] for each in told] == [1.0] * len(GIVEN) + [0.0]
