"""Data parallelism: the processes that train one cell, and the sums that they exchange.

Each process, a rank, builds the same batches and trains on its share of each. Losses are sums over tokens, divided by
the number of target tokens of all ranks, so that the sum of the ranks' gradients is the gradient of the whole batch.
All ranks then take the same optimizer step.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from peft_study.models.compat import layers_of
from peft_study.models.loading import Model, base_of

LOCALHOST = "127.0.0.1"
TIMEOUT = timedelta(minutes=60)
"""How long a rank waits for the others, such as for the first one while it saves a checkpoint or generates."""
COALESCED_ELEMENTS = 1 << 22
"""Smaller gradients are exchanged together, because each exchange has a latency. A larger one needs no copy."""
T = TypeVar("T")


@dataclass
class Ranks:
    """The ranks of a cell, seen from one of them. The default is a cell that is a single process.

    Attributes:
        rank: number of this process, from 0. The first rank writes the cell's files.
        size: number of processes.
        group: exchanges tensors; None for a single process, and after `leave`.
        shards: whether each rank keeps a share of the frozen weights (`shard_frozen_weights`). All ranks must then run
            every layer equally often.
    """

    rank: int = 0
    size: int = 1
    group: Any = None
    shards: bool = False

    @property
    def first(self) -> bool:
        """Whether this process writes the cell's files."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Return this rank's share of a batch. It is empty if the batch has fewer items than there are ranks."""
        return list(items[self.rank :: self.size])

    def add(self, values: torch.Tensor) -> torch.Tensor:
        """Replace a tensor by its sum over all ranks, and return it.

        Args:
            values: of the same shape and type in each rank; changed in place.
        """
        if self.group is not None:
            self.group.allreduce([values]).wait()
        return values

    def wait(self, device: torch.device) -> None:
        """Wait until every rank has called this method.

        Args:
            device: device of the exchange.
        """
        self.add(torch.zeros(1, device=device))

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all ranks.

        Args:
            parameters: the trained parameters, in the same order in each rank. A gradient that only some ranks have
                counts as zero in the others.
        """
        if self.group is None:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if not trained:
            return
        present = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32)
        counts = self.add(present.to(trained[0].device)).tolist()
        gradients: list[torch.Tensor] = []
        for parameter, count in zip(trained, counts, strict=True):
            if not count:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        small = [gradient for gradient in gradients if gradient.numel() < COALESCED_ELEMENTS]
        for gradient in gradients:
            if gradient.numel() >= COALESCED_ELEMENTS:
                self.add(gradient)
        # A set has another order in each process, and the ranks must exchange in the same order.
        for dtype in dict.fromkeys(gradient.dtype for gradient in small):
            self._add_together([gradient for gradient in small if gradient.dtype == dtype])

    def _add_together(self, gradients: Sequence[torch.Tensor]) -> None:
        flat = self.add(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, values in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(values.view_as(gradient))


ALONE = Ranks()
"""A cell that is a single process."""


def rendezvous(size: int, port: int = 0) -> TCPStore:
    """Return the store in which the ranks of a cell find each other.

    Args:
        size: number of ranks.
        port: port of the first rank's store; 0 makes this process the first rank, and its store takes a free port.
    """
    return TCPStore(LOCALHOST, port, size, is_master=not port, timeout=TIMEOUT, wait_for_workers=False)


def join(rank: int, size: int, store: TCPStore, device: torch.device, *, shards: bool = False) -> Ranks:
    """Join the ranks of a cell. Returns once all of them have joined.

    Args:
        rank: number of this process.
        size: number of processes.
        store: see `rendezvous`.
        device: device of the training. GPUs exchange through NCCL, CPUs through gloo.
        shards: whether the ranks share the frozen weights. torch's global group is then theirs until `leave`.
    """
    store.set(_ready_key(rank), "")
    # A group of its own. accelerate and transformers act on torch's global group: they would wrap the model and divide
    # the data a second time.
    group: Any
    if device.type == "cuda":
        options = distributed.ProcessGroupNCCL.Options()
        options._timeout = TIMEOUT
        group = distributed.ProcessGroupNCCL(store, rank, size, options)
    else:
        group = distributed.ProcessGroupGloo(store, rank, size, TIMEOUT)
    ranks = Ranks(rank, size, group, shards)
    ranks.wait(device)
    if shards:
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(
            backend, store=PrefixStore("weights", store), rank=rank, world_size=size, timeout=TIMEOUT
        )
    return ranks


def is_ready(rank: int, store: TCPStore) -> bool:
    """Whether a rank has loaded its model and calls `join`, which then returns at once if all others call it, too."""
    return bool(store.check([_ready_key(rank)]))


def _ready_key(rank: int) -> str:
    return f"ready {rank}"


def leave(ranks: Ranks) -> None:
    """End what `join` has started: the group, with its threads, and torch's global state."""
    if ranks.shards:
        distributed.destroy_process_group()
    # Its last reference. With threads of a group that is left to the interpreter's exit, the process aborts.
    ranks.group = None


def shard_frozen_weights(model: Model, device: torch.device) -> None:
    """Divide the frozen weights of a model's layers among the ranks, and move the model to its device.

    torch's FSDP2 gathers the weights of a layer while it computes. Embeddings, the head and trained weights stay whole
    on each rank: those of an adapter are small, and `Ranks.add_gradients` adds their gradients.

    Args:
        model: on the CPU, with `requires_grad` set; changed in place. Each rank has the same.
        device: device of this rank.
    """
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for layer in layers_of(base_of(model)):
        trained = {parameter for parameter in layer.parameters() if parameter.requires_grad}
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
    # Not the method of transformers, which refuses quantized models.
    nn.Module.to(model, device)
