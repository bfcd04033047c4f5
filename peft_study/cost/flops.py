"""Model FLOPs of training: the operations that the forward and backward passes of real tokens need.

The definition is PaLM's (arXiv 2204.02311, appendix B): recomputed activations and padding do not count.

- A weight of a matrix takes 2 operations a token forward and 2 for the gradient of its input. A trained weight takes 2
  more for its own gradient: 6 in full fine-tuning, 4 for a frozen base.
- Attention takes 12 x layers x width for each pair of tokens of a sample, without the savings of a causal mask.
- An encoder behind which nothing is trained, as with prefix tuning, has a forward pass only.
- The head counts only for tokens that predict a target token.
- Embeddings, norms and biases do not count.

The factor of 4 holds for every frozen weight, so it also counts the gradient of the first layer's input, which autograd
leaves out if nothing below it is trained: a part of one layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from peft import PeftModel, PeftType
from torch import nn

from peft_study.data.tokens import Encoded
from peft_study.models.adapter import virtual_tokens
from peft_study.models.loading import Model
from peft_study.models.parameters import size_of

FORWARD = 2
"""Operations a weight and token of one pass; the gradients of input and weight take one such pass each."""
ATTENTION_FORWARD = 4
"""Two products of 2 operations a pair and a number of the width; the backward pass takes twice as many."""
# The copy that `modules_to_save` replaces does not run, and a prompt encoder does not run on tokens.
_WITHOUT_TOKENS = ("original_module", "prompt_encoder")
# An encoder-decoder computes them for the encoder's tokens.
_CROSS_INPUTS = ("EncDecAttention.k", "EncDecAttention.v")


@dataclass(frozen=True)
class TrainingFlops:
    """The operations of a training sample, forward and backward.

    Attributes:
        encoder: operations a token of the prompt, in an encoder and in the keys and values made from it; 0 for a
            decoder.
        decoder: operations a token that the decoder reads.
        head: operations a predicted token.
        encoder_pair: operations a pair of tokens in the encoder's attention.
        decoder_pair: operations a pair of tokens in the decoder's attention, and in the one on the encoder.
        encoder_decoder: whether the prompt goes to an encoder.
        read_tokens: virtual tokens that are read before the prompt.
        cached_tokens: virtual tokens whose keys and values are the adapter's.
    """

    encoder: int
    decoder: int
    head: int
    encoder_pair: int
    decoder_pair: int
    encoder_decoder: bool
    read_tokens: int = 0
    cached_tokens: int = 0

    @classmethod
    def of(cls, model: Model) -> Self:
        """Count the operations of a model whose `requires_grad` is set.

        Args:
            model: base or adapter.
        """
        encoder_decoder = bool(model.config.is_encoder_decoder)
        adapter = model.active_peft_config if isinstance(model, PeftModel) else None
        virtual = virtual_tokens(adapter)
        cached = getattr(adapter, "peft_type", None) is PeftType.PREFIX_TUNING
        passes = {"encoder": 1 if cached and encoder_decoder else 2, "decoder": 2, "head": 2}
        parts = dict.fromkeys(passes, 0)
        for part, weight in _weights(model, encoder_decoder):
            parts[part] += FORWARD * size_of(weight) * (passes[part] + weight.requires_grad)
        layers, decoder_layers, width = _attention(model.config)
        # Of the encoder's attention, the backward pass takes two thirds.
        encoder_passes = 1 if passes["encoder"] == 1 else 3
        return cls(
            **parts,
            encoder_pair=encoder_passes * ATTENTION_FORWARD * layers * width if encoder_decoder else 0,
            decoder_pair=3 * ATTENTION_FORWARD * decoder_layers * width,
            encoder_decoder=encoder_decoder,
            read_tokens=0 if cached else virtual,
            cached_tokens=virtual if cached else 0,
        )

    def of_sample(self, sample: Encoded) -> int:
        """Count the operations of a sample in a training step."""
        prompt, target = len(sample.prompt), len(sample.target)
        if self.encoder_decoder:
            prompt += self.read_tokens
            pairs = target * (target + self.cached_tokens + prompt)
            encoder = self.encoder * prompt + self.encoder_pair * prompt**2
            return encoder + self.decoder * target + self.decoder_pair * pairs + self.head * target
        tokens = self.read_tokens + prompt + target
        pairs = tokens * (tokens + self.cached_tokens)
        return self.decoder * tokens + self.decoder_pair * pairs + self.head * target


def _weights(model: nn.Module, encoder_decoder: bool) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield every weight matrix that is multiplied by tokens, with the part of the model that it belongs to."""
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    heads = set() if head is None else {id(module) for module in head.modules()}
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) or any(part in name.split(".") for part in _WITHOUT_TOKENS):
            continue
        in_encoder = encoder_decoder and (".encoder." in f".{name}" or any(part in name for part in _CROSS_INPUTS))
        part = "head" if id(module) in heads else "encoder" if in_encoder else "decoder"
        yield from ((part, weight) for weight in module.parameters(recurse=False) if weight.ndim > 1)


def _attention(config: Any) -> tuple[int, int, int]:
    """Return the layers of the encoder (or of the model), those of the decoder, and the width of all heads."""
    layers = int(config.num_hidden_layers)
    heads = int(config.num_attention_heads)
    head_width = getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or config.hidden_size // heads
    return layers, int(getattr(config, "num_decoder_layers", None) or layers), heads * int(head_width)
