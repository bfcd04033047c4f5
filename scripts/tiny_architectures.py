"""The shapes of the embedded models, 1.2 to 1.7 million parameters each."""

from collections.abc import Callable
from types import MethodType

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    CodeGenConfig,
    CodeGenForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.codegen.modeling_codegen import CodeGenAttention

VOCABULARY, PAD, END, POSITIONS = 1_536, 0, 1, 2_048


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=160,
            intermediate_size=432,
            num_hidden_layers=4,
            num_attention_heads=5,
            num_key_value_heads=5,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            eos_token_id=END,
            bos_token_id=None,
        )
    )


def codegen() -> PreTrainedModel:
    return CodeGenForCausalLM(
        CodeGenConfig(  # type: ignore[call-arg]
            vocab_size=VOCABULARY,
            n_positions=POSITIONS,
            n_ctx=POSITIONS,
            n_embd=128,
            n_layer=5,
            n_head=8,  # CodeGen2's layout splits the heads eight ways
            rotary_dim=16,
            n_inner=384,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            pad_token_id=PAD,
            eos_token_id=END,
            bos_token_id=None,
        )
    )


def t5() -> PreTrainedModel:
    return T5ForConditionalGeneration(
        T5Config(  # type: ignore[call-arg]
            vocab_size=VOCABULARY,
            d_model=128,
            d_kv=32,
            d_ff=320,
            num_layers=4,
            num_decoder_layers=4,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="relu",
            tie_word_embeddings=True,
            pad_token_id=PAD,
            eos_token_id=END,
            decoder_start_token_id=PAD,
        )
    )


def speed_up(model: PreTrainedModel) -> None:
    """Run CodeGen's attention by the fused kernel, for rows without padding. The weights do not change."""
    for module in model.modules():
        if isinstance(module, CodeGenAttention):
            module._attn = MethodType(_causal_attention, module)  # type: ignore[method-assign]


def _causal_attention(
    _: CodeGenAttention, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None
) -> tuple[Tensor, None]:
    del attention_mask  # rows of the corpus have no padding, so the mask is causal only
    return scaled_dot_product_attention(query.to(value.dtype), key.to(value.dtype), value, is_causal=True), None


BUILDERS: dict[str, Callable[[], PreTrainedModel]] = {"tiny-llama": llama, "tiny-codegen": codegen, "tiny-t5": t5}
