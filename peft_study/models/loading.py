"""Load a model and its tokenizer from the settings of a cell."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, TypeAlias

from huggingface_hub.errors import StrictDataclassError
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from peft_study.config.schema import Attention, Family, MethodKind, ModelConfig, QuantizationConfig, Weights
from peft_study.config.sources import EMBEDDED_SOURCE, EMBEDDED_TOKENIZER, is_on_this_machine, is_written_as_path
from peft_study.errors import UserError, first_line
from peft_study.models import tiny
from peft_study.models.codegen2 import CodeGen2ForCausalLM, as_codegen, check_layout
from peft_study.models.compat import keep_4bit_layers_trainable_on_cpu
from peft_study.models.declared import check_family, resolve_source
from peft_study.models.families import FAMILIES
from peft_study.models.precision import Compute, bitsandbytes_config
from peft_study.models.random_weights import on_meta_device, random_architecture, random_state

Model: TypeAlias = PreTrainedModel | PeftModel
"""A base model, or the peft adapter around it, which forwards other attributes to the base."""

LOADING_ERRORS = (OSError, ValueError, ImportError, StrictDataclassError, SafetensorError)
"""What the libraries raise for files that are missing, damaged or not supported."""
_NAMED_TOKENS = 5
_LOCAL_HINT = "the folder must hold config.json, tokenizer.json and *.safetensors"
_HUB_HINT = (
    "check the network, or the cache (HF_HUB_OFFLINE=1 uses the cache only); log in for a gated model (hf auth login); "
    "or model.source=FOLDER; model=tiny-llama needs no download"
)


def base_of(model: Model) -> Any:
    """The model without peft's wrapper; the layers of an adapter stay in it."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def load_tokenizer(model: ModelConfig) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer, with a padding token.

    Raises:
        UserError: the tokenizer cannot be loaded, gives no character offsets, or has no end-of-sequence token.
    """
    name = model.tokenizer or model.source
    assert name is not None, "config.checks asks for a tokenizer"
    if name == EMBEDDED_TOKENIZER or name.startswith(EMBEDDED_SOURCE):
        return tiny.load_tokenizer()
    try:
        revision = {"revision": model.revision} if model.revision and name == model.source else {}
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            resolve_source(name), trust_remote_code=False, **revision
        )
    except Exception as error:  # the package tokenizers raises a plain Exception for a damaged file
        raise _unreachable(model, f"the tokenizer {name}", name, error) from error
    # `data.tokens` finds the boundary between prompt and target by the offsets.
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer {name} must give character offsets",
            where="model.tokenizer",
            hint="name a tokenizer with a tokenizer.json",
        )
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"the tokenizer {name} must have an end-of-sequence token",
            where="model.tokenizer",
            hint="set eos_token in its tokenizer_config.json",
        )
    if tokenizer.pad_token_id is None:
        # Padding is masked everywhere, so any existing token serves. A new token would resize the embeddings.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def fit_vocabulary(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
    """Check that the model embeds every token that it can read.

    If the padding token is beyond the embeddings, the end token replaces it, because padding is masked everywhere.
    Other special tokens beyond the embeddings stay in the tokenizer, because no text is encoded to them.

    Args:
        tokenizer: the model's tokenizer; changed in place.
        vocabulary: number of tokens that the model embeds.

    Raises:
        UserError: the tokenizer can produce a token that the model does not embed.
    """
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    # CodeLlama's tokenizer class adds its infilling tokens to a vocabulary that lacks them, and no text is encoded to
    # them. The model does read the special tokens that the tokenizer puts around every text.
    unread = special - {tokenizer.eos_token_id, *tokenizer("x")["input_ids"]}
    surplus = sorted(index for index in tokenizer.get_vocab().values() if index >= vocabulary and index not in unread)
    if surplus:
        raise UserError(
            f"the tokenizer must have at most {vocabulary} tokens, which the model embeds, got {len(tokenizer)}; "
            f"beyond them: {', '.join(map(repr, tokenizer.convert_ids_to_tokens(surplus[:_NAMED_TOKENS])))}",
            where="model.tokenizer",
            hint="name a tokenizer without them; or call model.resize_token_embeddings(len(tokenizer)), save model and "
            "tokenizer to the same folder, and set model.source to it",
        )
    if tokenizer.pad_token_id >= vocabulary:
        tokenizer.pad_token = tokenizer.eos_token


def load_model(
    model: ModelConfig,
    quantization: QuantizationConfig,
    kind: MethodKind,
    compute: Compute,
    tokenizer: PreTrainedTokenizerBase,
) -> PreTrainedModel:
    """Load or build a base model on its device.

    Only safetensors are read, and no code from the hub is run.

    Args:
        model: settings of the model.
        quantization: how the base is stored.
        kind: full fine-tuning stores fp32 weights.
        compute: device and number format.
        tokenizer: gives the vocabulary of random weights, and the tokens of the check of CodeGen2's layout.

    Raises:
        UserError: the weights cannot be loaded, are incomplete, or have another architecture or layout than
            `model.family`.
    """
    if model.weights is Weights.random:
        skeleton = on_meta_device(model, random_architecture(model, tokenizer))
        return load_state(model, quantization, kind, compute, skeleton, random_state(skeleton, compute.device))
    assert model.source is not None, "config.checks asks for a source"
    options = _loading_options(model, quantization, kind, compute) | {"revision": model.revision or "main"}
    is_codegen2 = model.family is Family.codegen2
    auto_class = CodeGen2ForCausalLM if is_codegen2 else FAMILIES[model.family].auto_class
    loaded = _from_pretrained(model, auto_class, resolve_source(model.source), **options)
    check_family(model, loaded.config)
    if is_codegen2:
        loaded = as_codegen(loaded)
    # A wrong order raises no error and gives wrong numbers, so the weights are asked which order they have.
    if model.family in (Family.codegen, Family.codegen2):
        check_layout(loaded, tokenizer, model.source, model.family)
    return loaded


def load_state(
    model: ModelConfig,
    quantization: QuantizationConfig,
    kind: MethodKind,
    compute: Compute,
    skeleton: PreTrainedModel,
    state: Mapping[str, Any],
) -> PreTrainedModel:
    """Load a base model from weights that are created when they are read.

    Args:
        model: settings of the model.
        quantization: how the base is stored.
        kind: full fine-tuning stores fp32 weights.
        compute: device and number format.
        skeleton: the model on the meta device.
        state: by the name of a weight, an object that returns the weight when sliced, like a slice of a safetensors
            file.
    """
    options = _loading_options(model, quantization, kind, compute)
    return _from_pretrained(model, type(skeleton), None, config=skeleton.config, state_dict=state, **options)


def _loading_options(
    model: ModelConfig, quantization: QuantizationConfig, kind: MethodKind, compute: Compute
) -> dict[str, Any]:
    options: dict[str, Any] = {"dtype": compute.storage(kind), "device_map": {"": compute.device}}
    installed = find_spec("flash_attn") is not None
    if model.attention == Attention.flash_attention_2 and not (installed and compute.device.type == "cuda"):
        missing = "" if installed else ", without the package"
        raise UserError(
            "model.attention=flash_attention_2 needs the package flash-attn and a GPU, "
            f"got device {compute.device.type}{missing}",
            where="model.attention",
            hint="model.attention=sdpa",
        )
    if model.attention != Attention.auto:
        options["attn_implementation"] = str(model.attention)
    quantised = bitsandbytes_config(quantization, compute)
    return options if quantised is None else options | {"quantization_config": quantised}


def _from_pretrained(model: ModelConfig, auto_class: Any, source: str | None, **options: Any) -> PreTrainedModel:
    # A pickle or a repository's own code could do anything on this machine. Safetensors hold numbers only.
    options |= {"use_safetensors": True, "trust_remote_code": False}
    loaded: PreTrainedModel
    try:
        loaded, report = auto_class.from_pretrained(
            source, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except LOADING_ERRORS as error:
        raise _unreachable(model, f"the weights of {source}", source, error) from error
    # transformers draws such weights at random, so that a base would compute something else without an error.
    drawn = sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    if drawn:
        raise UserError(
            f"the weights of {source} must be all that its config describes; "
            f"missing or of another shape: {len(drawn)}, such as {drawn[0]}",
            where="model.source",
            hint="a complete copy of the files, with the config.json of these weights",
        )
    # Sampling and penalties from a model's folder would fill in the settings that our decoding leaves unset.
    loaded.generation_config = GenerationConfig()
    keep_4bit_layers_trainable_on_cpu(loaded)
    return loaded


def _unreachable(model: ModelConfig, content: str, source: str | None, error: Exception) -> UserError:
    is_local = source is not None and is_on_this_machine(source)
    is_missing_path = source is not None and not is_local and is_written_as_path(source)
    return UserError(
        f"{content} cannot be loaded: {'the path does not exist' if is_missing_path else first_line(error)}",
        where=f"{'model.tokenizer' if source == model.tokenizer else 'model.source'}={source}",
        hint=_LOCAL_HINT if is_local or is_missing_path else _HUB_HINT,
    )
