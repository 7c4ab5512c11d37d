"""What the hub's stand-in takes: repositories, large files by digest, and commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

LARGE = (".parquet", ".safetensors")
"""Endings of the files that its `.gitattributes` makes large ones, as the hub's does."""
LICENCES = ("apache-2.0", "mit", "cc-by-4.0", "other", "unknown")
"""Some of the hub's."""
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
TAGS = re.compile(r"[a-z]{2,3}|code|multilingual")


@dataclass
class Written:
    """What was written, beside the commits."""

    visibility: dict[str, str] = field(default_factory=dict)
    """Repository -> `private` or `public`, as it was created."""
    large: dict[str, bytes] = field(default_factory=dict)
    """sha256 -> content, committed or not."""
    messages: list[str] = field(default_factory=list)


def git_id(data: bytes) -> str:
    """The id of a git blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def listed(path: str, data: bytes) -> dict[str, Any]:
    """A file of a tree, as the hub lists it."""
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_id(data)}
    if path.endswith(LARGE):
        large = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        entry["lfs"] = large
    return entry


def front_matter(text: str) -> Any:
    """The YAML before a card's text."""
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    return yaml.safe_load(found.group(1)) if found else None


def wrong_in(card: str, kind: str) -> list[str]:
    """What the hub says of a card's front matter."""
    data = front_matter(card)
    if not isinstance(data, dict):
        return ["no metadata"]
    found = []
    if data.get("license") not in LICENCES:
        found.append(f'"license" must be one of the list, not {data.get("license")}')
    if kind == "dataset":
        found += [f'"size_categories": {size}' for size in data.get("size_categories", [])
                  if size not in SIZES]  # fmt: skip
        found += [f'"language": {code}' for code in data["language"] if not TAGS.fullmatch(code)]
        names = [config["config_name"] for config in data.get("configs", [])]
        if (
            len(set(names)) != len(names)
            or sum(c.get("default", False) for c in data["configs"]) > 1
        ):
            found.append('"configs" has a name twice, or two defaults')
    return found


def upload_modes(asked: Any, there: dict[str, bytes]) -> dict[str, Any]:
    """How each file is to be sent, and the id of what stands there."""
    files = []
    for file in asked["files"]:
        path = file["path"]
        mode = "lfs" if path.endswith(LARGE) else "regular"
        entry = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        if path in there:
            known = listed(path, there[path])
            entry["oid"] = known["lfs"]["oid"] if mode == "lfs" else known["oid"]
        files.append(entry)
    return {"files": files}


def batch(asked: Any, written: Written, url: str) -> dict[str, Any]:
    """Where to send each large file; nowhere, for one that is held."""
    objects = []
    for file in asked["objects"]:
        entry = {"oid": file["oid"], "size": file["size"]}
        if file["oid"] not in written.large:
            entry["actions"] = {"upload": {"href": f"{url}/large/{file['oid']}"}}
        objects.append(entry)
    return {"transfer": "basic", "objects": objects}


def committed(lines: bytes, there: dict[str, bytes], written: Written) -> dict[str, bytes]:
    """The files after a commit. Raises KeyError where a large file was never sent."""
    files = dict(there)
    for line in lines.splitlines():
        entry = json.loads(line)
        value = entry["value"]
        match entry["key"]:
            case "header":
                written.messages.append(value["summary"])
            case "file":
                files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                files[value["path"]] = written.large[value["oid"]]
            case "deletedFile":
                del files[value["path"]]
            case other:
                raise AssertionError(other)
    return files
