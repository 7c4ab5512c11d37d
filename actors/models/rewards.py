r"""What kind of process reward model a folder holds, as its config.json says.

    "stepmill": {"kind": "discriminative", "separator": "\n\n"}
    "stepmill": {"kind": "implicit", "separator": "\n\n", "beta": 0.05, "reference": "org/name"}
    "stepmill": {"kind": "generative", "view": "cot"}

`stepmill train` writes it. A folder without it is a generative verifier, unless its class has a
head over tokens.

Invariant: only config.json is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from actors.engines.contract import EngineSettings
from actors.models.fetching import small_files
from actors.models.folder import json_of
from actors.models.source import ModelSource
from storage.errors import ConfigurationError, InputError

Kind = Literal["generative", "discriminative", "value", "orm", "implicit"]
HEADED: tuple[Kind, ...] = ("discriminative", "value", "orm")
"""Kinds with a head: two logits for each token, wrong and right."""
KEY = "stepmill"
"""Of config.json."""
HEAD_CLASS = "ForTokenClassification"
"""End of the names of classes with such a head."""
LABELS = 2
SEPARATOR = "\n\n"


@dataclass(frozen=True, slots=True)
class RewardModel:
    """How a process reward model is read."""

    kind: Kind = "generative"
    view: str | None = None
    """Of a generative one: the view that it was trained on."""
    separator: str = SEPARATOR
    """Stands behind each step; a step's reward is read at its last token."""
    beta: float = 1.0
    """Of an implicit one: a step's log-odds are beta times its log-ratio to the reference."""
    reference: str | None = None
    """Of an implicit one: the model that it was trained from."""
    reference_revision: str | None = None

    @property
    def reads(self) -> bool:
        """Whether it reads the steps and writes nothing."""
        return self.kind != "generative"

    def noted(self) -> dict[str, Any]:
        """What config.json holds under `KEY`."""
        plain = asdict(RewardModel())
        return {"kind": self.kind} | {
            name: value
            for name, value in asdict(self).items()
            if value != plain[name] or (name == "separator" and self.reads)
        }


def reward_model_of(settings: EngineSettings) -> RewardModel:
    """What a model is; one that is a server's, or scripted, is generative.

    Raises InputError for a folder whose word is not understood, and as `small_files`.
    """
    if settings.kind != "vllm":
        return RewardModel()
    folder = Path(small_files(ModelSource(settings.model, settings.revision))).expanduser()
    return reward_model_in(json_of(folder, "config.json"), settings.model)


def reward_model_in(config: Mapping[str, Any], name: str) -> RewardModel:
    """What the configuration of the model `name` says. Raises InputError."""
    said = config.get(KEY)
    if said is None:
        if not any(str(one).endswith(HEAD_CLASS) for one in config.get("architectures") or ()):
            return RewardModel()
        labels = len(config.get("id2label") or range(LABELS))  # not written where there are two
        if labels != LABELS:
            raise InputError(f"{name} has {labels} labels, and a head over steps two: wrong, right")
        return RewardModel("discriminative")
    try:
        made = RewardModel(**said)
    except TypeError as error:
        raise InputError(
            f"{name}: config.json's `{KEY}` is from another version ({error})"
        ) from None
    if made.kind not in get_args(Kind):
        kinds = ", ".join(get_args(Kind))
        raise InputError(f"{name} is a reward model of kind {made.kind!r}, not one of {kinds}")
    words = (made.view or "", made.separator, made.reference or "", made.reference_revision or "")
    if type(made.beta) not in (int, float) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{name}: config.json's `{KEY}` has values of other types")
    return made


def reference_of(model: RewardModel, asked: ModelSource) -> EngineSettings:
    """The model that an implicit one is compared with, as its folder says; `asked`: that folder.

    Raises ConfigurationError where that is for the caller to say: a store at a server that the
    folder chose would be asked with the caller's credentials.
    """
    named = model.reference
    stored = ModelSource(named or "").stored
    elsewhere = stored and "?" in stored[0] and stored[0] != (asked.stored or ("",))[0]
    if not named or elsewhere:
        which = "a reference at a server of its own choice" if elsewhere else "no reference"
        raise ConfigurationError(
            f"{asked.name} names {which}: set `models.reference.model` to the model that it was "
            "trained from"
        )
    return EngineSettings(model=named, revision=model.reference_revision)
