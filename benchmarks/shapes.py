"""Model folders of published shapes without trained weights, for measurements of speed.

A folder has the configuration, a tokenizer of the whole vocabulary and a placeholder for weights:
engines open it with vLLM's `load_format: dummy`. What such a model writes means nothing; a token of
it costs what a token of the published model costs.

Invariant: with random weights every entry of the vocabulary is about equally likely. So a sample's
length is geometric, with the vocabulary's size as its mean, cut at the token limit.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

DEMO = Path(__file__).parents[1] / "demo" / "models" / "policy"
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True)
class Shape:
    """The numbers of a Qwen2 model's config.json."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool

    @property
    def parameters(self) -> int:
        """Weights, embeddings included."""
        head = self.hidden_size // self.num_attention_heads
        attention = self.hidden_size * (2 * self.hidden_size + 2 * self.num_key_value_heads * head)
        layer = attention + 3 * self.hidden_size * self.intermediate_size
        tables = 1 if self.tie_word_embeddings else 2
        return self.num_hidden_layers * layer + tables * self.vocab_size * self.hidden_size


SHAPES = {
    "32b": Shape(5120, 27648, 64, 40, 8, 152064, False),  # Qwen2.5-32B
    "7b": Shape(3584, 18944, 28, 28, 4, 152064, False),  # Qwen2.5-7B
    "1.5b": Shape(1536, 8960, 28, 12, 2, 151936, True),  # Qwen2.5-1.5B
    "tiny": Shape(128, 256, 2, 4, 2, 1024, True),  # for trying the measurement itself
}


def vocabulary(size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of `size` entries that spells every text in bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [PAD, START, END, *letters]
    if size < len(entries):
        raise ValueError(f"a vocabulary has at least {len(entries)} entries, not {size}")
    entries += [f" w{number}" for number in range(size - len(entries))]
    spelled = Tokenizer(models.BPE({text: at for at, text in enumerate(entries)}, []))
    spelled.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelled.decoder = decoders.ByteLevel()
    spelled.add_special_tokens([AddedToken(text, special=True) for text in (PAD, START, END)])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=spelled, eos_token=END, pad_token=PAD)
    wrapped.chat_template = (DEMO / "chat_template.jinja").read_text()
    return wrapped


def write_folder(shape: Shape, folder: Path, context: int = 32768) -> Path:
    """A model folder of a shape; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary(shape.vocab_size).save_pretrained(folder)
    config = json.loads((DEMO / "config.json").read_text()) | asdict(shape)
    config |= {
        "layer_types": ["full_attention"] * shape.num_hidden_layers,
        "max_position_embeddings": context,
        "dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    shutil.copy(DEMO / "model.safetensors", folder)  # a placeholder: no weight is read
    return folder
