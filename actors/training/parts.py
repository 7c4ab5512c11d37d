"""Reads a training's checkpoint as data: it comes from a store that others may write to.

Torch keeps what a checkpoint holds as a pickle, and numbers of the optimizer as others. A pickle
can call any function, so only the classes of a checkpoint are let in.

Invariant: reading a checkpoint calls nothing but what makes tensors, numbers and descriptions.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed import checkpoint
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import ReadItem

from actors.training.moving import CONTENTS
from storage.errors import ObjectCorrupt, first_line

_OF = "torch.distributed.checkpoint"
_ALLOWED = {
    f"{_OF}.metadata": {
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta",
        "TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    },
    f"{_OF}.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath"},
    "collections": {"OrderedDict"},
}  # fmt: skip
"""Module -> the classes that descriptions of checkpoints are made of."""


class _Description(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """A class of descriptions; raises UnpicklingError for any other."""
        of_torch = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if of_torch or (module, name) == ("torch", "Size") or name in _ALLOWED.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}"[:100])


class DataReader(checkpoint.FileSystemReader):  # type: ignore[misc]  # torch is untyped
    """Reads a folder's checkpoint."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The description of the checkpoint. Raises ObjectCorrupt for another pickle."""
        data = (Path(str(self.checkpoint_id)) / CONTENTS).read_bytes()
        try:
            found = _Description(io.BytesIO(data)).load()
        except Exception as error:  # noqa: BLE001 - an altered pickle raises what it likes
            raise ObjectCorrupt(
                f"the checkpoint's description is damaged: {first_line(error)}"
            ) from None
        if not isinstance(found, Metadata):
            raise ObjectCorrupt("the checkpoint's description is damaged: it is none")
        found.storage_meta = found.storage_meta or StorageMeta()
        found.storage_meta.load_id = self.load_id
        return found


class DataPlanner(checkpoint.DefaultLoadPlanner):  # type: ignore[misc]
    """Reads what is no tensor as data too."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """A number or a text of the state. Raises ObjectCorrupt for another pickle."""
        try:
            safe = torch.load(value, weights_only=True)
        except Exception as error:  # noqa: BLE001 - as above
            raise ObjectCorrupt(f"the checkpoint is damaged: {first_line(error)}") from None
        again = io.BytesIO()
        torch.save(safe, again)
        again.seek(0)
        super().load_bytes(read_item, again)


def loaded(state: dict[str, Any], folder: Path) -> None:
    """Fill a state from a folder's checkpoint. Raises ObjectCorrupt."""
    try:
        checkpoint.load(state, storage_reader=DataReader(folder), planner=DataPlanner())
    except checkpoint.CheckpointException as error:
        said = next((one[0] for one in error.failures.values()), error)
        raise ObjectCorrupt(f"the checkpoint in {folder} can't be read: {said}") from None
