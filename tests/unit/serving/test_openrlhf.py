"""OpenRLHF's protocol: what it sends, what it reads."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.asked_door import GIVEN, asked_door, item

CHAT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def query(number: int, template: str = CHAT, end: str = "<|im_end|>\n<|endoftext|>") -> Any:
    """(query, prompt) of one of the given solutions, as a policy's tokens decode."""
    given = GIVEN[number]
    prompt = template.format(given.problem)
    text = "\n\n".join(f"Step {at}: {step}" for at, step in enumerate(given.steps, 1))
    return f"{prompt}{text}{end}", prompt


async def _rewards(asked: Any, pairs: list[Any]) -> Any:
    body = {
        "query": [pair[0] for pair in pairs],
        "prompts": [pair[1] for pair in pairs],
        "labels": ["" for _ in pairs],
    }
    return await asked.client.post("/v1/openrlhf", json=body)


@pytest.mark.parametrize("template", [CHAT, "{}"])
async def test_one_query_is_answered_with_numbers_and_many_with_lists(template: str) -> None:
    async with asked_door() as asked:
        pairs = [query(number, template) for number in range(4)]
        many = (await _rewards(asked, pairs)).json()
        one = (await _rewards(asked, pairs[:1])).json()
        bare = [{k: v for k, v in item(number).items() if k != "id"} for number in range(4)]
        scores = (await asked.score(items=bare, details=False)).json()["scores"]
    assert many["rewards"] == many["scores"] == [score["score"] for score in scores]
    right = [float(score["first_error"] < 0) for score in scores]
    assert many["extra_logs"]["verifier_right"] == right
    assert one["rewards"] == one["scores"] == scores[0]["score"]
    assert all(isinstance(value, float) for value in one["extra_logs"].values())


async def test_an_empty_response_gets_no_reward_and_its_neighbour_does() -> None:
    async with asked_door() as asked:
        prompt = CHAT.format("p")
        answer = (await _rewards(asked, [(f"{prompt}<|im_end|>", prompt), query(0)])).json()
    assert answer["extra_logs"]["verifier_scored"] == [0.0, 1.0]
    assert answer["rewards"][0] == 0.0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"query": ["ab"], "prompts": ["b"]}, "begin with"),
        ({"query": ["ab"], "prompts": []}, "0 prompts"),
        ({"query": [], "prompts": []}, "query"),
        ({"prompts": ["b"]}, "query"),
    ],
)
async def test_what_is_no_query_is_refused(body: Any, says: str) -> None:
    async with asked_door() as asked:
        answer = await asked.client.post("/v1/openrlhf", json=body)
    assert answer.status_code == 422 and says in answer.json()["reason"]
