"""Peak rates of known GPUs, for the utilization of their arithmetic."""

import re
from collections.abc import Mapping

from peft_study.config.schema import Precision

TERA = 1e12
_BOTH = (Precision.bf16, Precision.fp16)
# Tensor cores, dense (NVIDIA's sheets often state the rate with sparsity, which is twice as high), 16-bit factors,
# sums in fp32. The names are those of `torch.cuda.get_device_name`; a laptop's card of the same name is slower.
_CARDS: Mapping[str, tuple[float, tuple[Precision, ...]]] = {
    # NVIDIA V100 datasheet, January 2020.
    r"Tesla V100-SXM2-\d+GB": (125.0, (Precision.fp16,)),
    r"Tesla V100-PCIE-\d+GB": (112.0, (Precision.fp16,)),
    # NVIDIA T4 datasheet.
    r"(Tesla|NVIDIA) T4": (65.0, (Precision.fp16,)),
    # NVIDIA A100 datasheet: 312, and 624 with sparsity.
    r"(NVIDIA )?A100-(SXM4|PCIE)-\d+GB": (312.0, _BOTH),
    r"NVIDIA A100 80GB PCIe": (312.0, _BOTH),
    # NVIDIA RTX A5000 and A6000 datasheets: 222.2 and 309.7 with sparsity.
    r"(NVIDIA )?RTX A5000": (111.1, _BOTH),
    r"(NVIDIA )?RTX A6000": (154.8, _BOTH),
    # NVIDIA Ada GPU architecture whitepaper: FP16 with FP32 accumulate, 165.2, and 330.4 with sparsity.
    r"NVIDIA GeForce RTX 4090": (165.2, _BOTH),
    # NVIDIA L4 datasheet: 242 with sparsity.
    r"NVIDIA L4": (121.0, _BOTH),
    # NVIDIA H100 datasheet: 1,979 (SXM) and 1,513 (PCIe) with sparsity.
    r"NVIDIA H100 80GB HBM3": (989.4, _BOTH),
    r"NVIDIA H100 PCIe": (756.5, _BOTH),
    # NVIDIA H200 datasheet: 1,979 with sparsity.
    r"NVIDIA H200": (989.4, _BOTH),
}


def peak_flops(name: str, precision: Precision, stated_tflops: float | None) -> float | None:
    """Return the operations a second that a device can do at most.

    Args:
        name: the device, as torch names it.
        precision: number format of the training.
        stated_tflops: the rate that a user states, in 1e12 operations a second; it has priority.

    Returns:
        None if the device, or its rate in this format, is unknown.
    """
    if stated_tflops is not None:
        return stated_tflops * TERA
    for pattern, (tflops, precisions) in _CARDS.items():
        if re.fullmatch(pattern, name) and precision in precisions:
            return tflops * TERA
    return None
