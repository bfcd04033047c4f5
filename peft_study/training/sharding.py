"""Keeps a share of the frozen weights on each GPU, for a base model that no single GPU holds.

torch's FSDP2 (`fully_shard`) divides each weight of a layer among the ranks. A layer's weights are whole only while it
computes. Trained weights stay whole on each rank: those of an adapter are small, and `ranks` adds their gradients.
"""

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from peft_study.models.compat import layers_of
from peft_study.models.loading import Model, base_of


def shard_frozen_weights(model: Model, device: torch.device) -> None:
    """Divide the frozen weights of a model's layers among the ranks, and move the model to its device.

    Embeddings, the head and everything trained stay whole.

    Args:
        model: on the CPU, with `requires_grad` set; changed in place. Each rank has the same.
        device: device of this rank.
    """
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    base = base_of(model)
    for layer in layers_of(base):
        trained = {parameter for parameter in layer.parameters() if parameter.requires_grad}
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
    # Not the method of transformers, which refuses quantized models.
    nn.Module.to(model, device)
