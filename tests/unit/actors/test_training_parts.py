"""A checkpoint is read as data: nothing that a store's pickle names is called."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

from actors.training.moving import CONTENTS
from actors.training.parts import DataReader, loaded
from storage.errors import ObjectCorrupt


class Calls:
    """What a pickle of a stranger does when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.file}",)


def state(scale: float) -> dict[str, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=scale)
    (scale * model(torch.ones(3)).sum()).backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoint.save(state(0.5), checkpoint_id=tmp_path / "saved")
    return tmp_path / "saved"


def test_a_state_is_read_as_it_was_saved(saved: Path) -> None:
    read, wanted = state(0.25), state(0.5)
    loaded(read, saved)
    assert read["optimizer"]["param_groups"] == wanted["optimizer"]["param_groups"]
    for name, tensor in wanted["model"].items():
        assert torch.equal(read["model"][name], tensor)


@pytest.mark.parametrize("named", ["a call", "another object", "no pickle", "nothing"])
def test_a_description_that_is_none_of_ours_is_refused(named: str, saved: Path) -> None:
    ran = saved.parent / "ran"
    held = {
        "a call": pickle.dumps(Calls(ran)),
        "another object": pickle.dumps({"a": 1}),
        "no pickle": b"\x80\x04}",
        "nothing": b"",
    }[named]
    (saved / CONTENTS).write_bytes(held)
    with pytest.raises(ObjectCorrupt, match="description is damaged"):
        DataReader(saved).read_metadata()
    with pytest.raises(ObjectCorrupt):
        loaded(state(0.25), saved)
    assert not ran.exists()
    if named == "a call":
        pickle.loads(held)
        assert ran.exists(), "it would have run"


def test_a_number_of_the_state_is_data_too(saved: Path) -> None:
    ran = saved.parent / "ran"
    description = DataReader(saved).read_metadata()
    places = description.storage_data
    at = next(index for index in places if index.fqn == "optimizer.param_groups.0.lr")
    calls = io.BytesIO()
    torch.save(Calls(ran), calls)
    (saved / "evil").write_bytes(calls.getvalue())
    places[at].relative_path, places[at].offset = "evil", 0
    places[at].length = len(calls.getvalue())
    (saved / CONTENTS).write_bytes(pickle.dumps(description))
    with pytest.raises(ObjectCorrupt, match="can't be read"):
        loaded(state(0.25), saved)
    assert not ran.exists()
