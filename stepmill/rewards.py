"""Rewards of a verifier that `stepmill serve` serves, for trainers of policies.

    TRL       GRPOTrainer(reward_funcs=stepmill.rewards.trl_reward("http://HOST:8000"), ...)
    verl      reward.custom_reward_function.path=.../stepmill/rewards.py   (`compute_score`)
    OpenRLHF  --reward.remote_url http://HOST:8000/v1/openrlhf      (needs nothing of this file)

This file needs Python alone, so that it works by its path in an environment that lacks Stepmill,
or clashes with it. The server and its token: arguments, or $STEPMILL_URL and $STEPMILL_TOKEN.

The reward of a solution is the aggregate of its step rewards, `min` unless told otherwise; it is in
[0, 1]. One that can't be scored (it is empty, or too long for the verifier) gets `unscored`. A
server that is busy, or opens a replica, is asked again; an unreachable one ends in ServerError.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

URL, TOKEN = "STEPMILL_URL", "STEPMILL_TOKEN"
LATER = frozenset({429, 502, 503, 504})
"""Statuses that pass."""
BUG = "exception"
"""The word for an error of the server itself, which would come again."""
AGAIN_S = 2.0


class ServerError(RuntimeError):
    """The server refused a request, or could not be reached for too long."""

    def __init__(self, said: str, status: int | None = None, error: str = "") -> None:
        super().__init__(said)
        self.status = status
        """None: it did not answer."""
        self.error = error
        """The word of a typed refusal, as `invalid`; empty: there is none."""


class Client:
    """Asks a server for scores; safe to use by many threads."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 900.0,
        patience_s: float = 600.0,
        part: int = 256,
    ) -> None:
        """`timeout_s`: longest wait for an answer; `patience_s`: how long a server that is busy or
        away is asked again; `part`: most solutions of one request.
        """
        self.url = (url or os.environ.get(URL) or "http://127.0.0.1:8000").rstrip("/")
        self._token = token if token is not None else os.environ.get(TOKEN, "")
        self._timeout_s, self._patience_s, self._part = timeout_s, patience_s, part

    def score(self, problem: str, steps: Sequence[str] | str, **how: Any) -> dict[str, Any]:
        """The score of one solution, given as steps or as one text.

        `how`: `n`, `mode`, `seed`, `aggregate`, `details`, `id`, as `POST /v1/score` takes them.
        """
        found: dict[str, Any] = self._post({**_item(problem, steps), **how})
        return found

    def scores(
        self, items: Sequence[tuple[str, Sequence[str] | str]], **how: Any
    ) -> list[dict[str, Any]]:
        """The scores of (problem, steps or text); one without score has `error` and `reason`."""
        found: list[dict[str, Any]] = [{} for _ in items]
        waiting, given_up = list(range(len(items))), time.monotonic() + self._patience_s
        while waiting:
            for first in range(0, len(waiting), self._part):
                part = waiting[first : first + self._part]
                asked = [_item(*items[at]) for at in part]
                answered = self._post({"items": asked, **how})["scores"]
                for at, score in zip(part, answered, strict=True):
                    found[at] = score
            waiting = [at for at in waiting if found[at].get("retry")]
            if not waiting or time.monotonic() + AGAIN_S > given_up:
                break
            time.sleep(AGAIN_S)
        return found

    def rewards(
        self,
        items: Sequence[tuple[str, Sequence[str] | str]],
        unscored: float = 0.0,
        **how: Any,
    ) -> list[float]:
        """The reward of each; `unscored` for an empty one and for one that can't be scored.

        Raises ServerError where the server is at fault, or `how` is not what it takes.
        """
        rewards = [unscored] * len(items)
        asked = [at for at, (_, steps) in enumerate(items) if _says_something(steps)]
        found = self._found([items[at] for at in asked], how)
        for at, score in zip(asked, found, strict=True):
            rewards[at] = score.get("score", unscored)
        return rewards

    def _found(self, items: Sequence[Any], how: Mapping[str, Any]) -> list[dict[str, Any]]:
        """As `scores`, in requests that the server takes; raises ServerError as `rewards`."""
        try:
            found = self.scores(items, details=False, **how)
        except ServerError as refusal:
            if refusal.error != "too_many" or len(items) == 1:
                raise
            half = len(items) // 2
            return [*self._found(items[:half], how), *self._found(items[half:], how)]
        for score in found:
            if score.get("retry") or score.get("error") == BUG:
                raise ServerError(_said(score), 503 if score["retry"] else 500, score["error"])
        return found

    def stream(
        self, problem: str, steps: Sequence[str] | str, **how: Any
    ) -> Iterator[dict[str, Any]]:
        """The events of one solution: each step once it is judged, then the score."""
        with self._asked({**_item(problem, steps), **how, "stream": True}) as answer:
            yield from (json.loads(line) for line in answer if line.strip())

    def _post(self, body: Mapping[str, Any]) -> Any:
        with self._asked(body) as answer:
            return json.load(answer)

    def _asked(self, body: Mapping[str, Any]) -> Any:
        """The open answer to a request; a server that is busy or away is asked again."""
        given_up = time.monotonic() + self._patience_s
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/v1/score", data, headers)
        while True:
            try:
                return urllib.request.urlopen(request, timeout=self._timeout_s)
            except urllib.error.HTTPError as refusal:
                trouble, again_s = _refusal(refusal), _seconds(refusal.headers.get("Retry-After"))
                if refusal.code not in LATER:
                    raise trouble from None
            except OSError as error:
                trouble, again_s = ServerError(f"{self.url} does not answer: {error}"), AGAIN_S
            if time.monotonic() + again_s > given_up:
                raise trouble
            time.sleep(again_s)


def trl_reward(
    url: str | None = None, *, unscored: float = 0.0, name: str = "stepmill", **how: Any
) -> Callable[..., list[float]]:
    """A reward function for TRL's GRPOTrainer and RLOOTrainer.

    The problem is the dataset's column `problem`, else the last user turn, else the whole prompt.
    `how`: as `Client.score` takes it.
    """
    client = Client(url)

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        problems = columns.get("problem") or [_last_user(prompt) for prompt in prompts]
        texts = [_text(completion) for completion in completions]
        return client.rewards(list(zip(problems, texts, strict=True)), unscored, **how)

    reward.__name__ = name
    return reward


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str | None = None,
    problem_key: str = "problem",
    unscored: float = 0.0,
    n: int | None = None,
    mode: str | None = None,
    aggregate: str = "min",
    **other: Any,
) -> dict[str, Any]:
    """verl's custom reward function: the reward as `score`, and what else is worth a curve.

    The problem is `extra_info[problem_key]`, of the dataset. The keywords are set by
    `reward.custom_reward_function.reward_kwargs`; the ground truth is not looked at. Raises
    KeyError where `extra_info` lacks the problem, and ServerError.
    """
    info = extra_info or {}
    if problem_key not in info:
        raise KeyError(
            f"extra_info of {data_source!r} has no {problem_key!r}: write the problem's text there "
            "when the dataset is made, or set reward_kwargs.problem_key"
        )
    how = {"n": n, "mode": mode, "aggregate": aggregate}
    given = {key: value for key, value in how.items() if value is not None}
    client = Client(url)
    nothing = {"score": unscored, "verifier_steps": 0, "verifier_first_error": -1, "scored": 0.0}
    if not _says_something(solution_str):
        return nothing
    (found,) = client._found([(str(info[problem_key]), solution_str)], given)
    if "score" not in found:
        return nothing
    return {
        "score": found["score"],
        "verifier_steps": len(found["rewards"]),
        "verifier_first_error": found["first_error"],
        "scored": 1.0,
    }


def _item(problem: str, steps: Sequence[str] | str) -> dict[str, Any]:
    text = isinstance(steps, str)
    return {"problem": problem, **({"solution": steps} if text else {"steps": list(steps)})}


def _says_something(steps: Sequence[str] | str) -> bool:
    return bool(steps.strip()) if isinstance(steps, str) else any(step.strip() for step in steps)


def _last_user(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    return next((str(turn["content"]) for turn in reversed(prompt) if turn["role"] == "user"), "")


def _text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    return "".join(str(turn.get("content") or "") for turn in completion)


def _refusal(refusal: urllib.error.HTTPError) -> ServerError:
    try:
        trouble = json.load(refusal)
        return ServerError(_said(trouble), refusal.code, trouble["error"])
    except (ValueError, KeyError, TypeError):
        return ServerError(f"the server answered {refusal.code}", refusal.code)


def _said(trouble: Mapping[str, Any]) -> str:
    return f"{trouble['error']}: {trouble['reason']}; {trouble['change']}"


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isdecimal() else AGAIN_S
