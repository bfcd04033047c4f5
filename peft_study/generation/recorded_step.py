"""The step that writes a token of each candidate, replayed from a CUDA graph while its shape stays the same."""

from collections.abc import Callable, Hashable, Mapping

import torch

from peft_study.models.cuda_graphs import Recorder, Recording, memory_room

BLOCK = 64
"""Steps for which slots are read at a time, written or not, so that a recording serves as many steps."""
LEAST_ACTIVE = 0.75
"""Share of a batch's prompts that are unfinished, at which the finished ones leave: each new number of prompts needs
another recording, which takes as long as two steps."""
ROOM_IN_LOGITS = 8
"""Memory that a recording takes at most, in multiples of the logits' bytes, besides `ROOM_BYTES`."""
ROOM_BYTES = 1 << 28


class RecordedStep:
    """Computes the logits of a batch's steps.

    Attributes:
        count: number of recordings.
    """

    def __init__(self) -> None:
        self._recording: Recording[torch.Tensor] | None = None
        self._shape: Hashable = None
        self._needed_bytes = 0
        self.count = 0

    def logits(
        self,
        compute: Callable[[Mapping[str, torch.Tensor]], torch.Tensor],
        inputs: Mapping[str, torch.Tensor],
        shape: Hashable,
    ) -> torch.Tensor:
        """Compute the logits of a step.

        Args:
            compute: computes them from the inputs. It is not kept: it holds the batch, whose memory a cycle of
                references would keep until Python collects garbage.
            inputs: on the GPU.
            shape: what decides the kernels. The first step of a shape chooses them, and the second is recorded.

        Returns:
            the logits, which the next step overwrites.
        """
        if shape != self._shape:
            self._shape, self._recording = shape, None
            logits = compute(inputs)
            self._needed_bytes = ROOM_IN_LOGITS * logits.nbytes + ROOM_BYTES
            return logits
        if self._recording is None:
            if memory_room(next(iter(inputs.values())).device) < self._needed_bytes:
                return compute(inputs)
            # The previous recording and its memory were freed above, so no recorder is left to share memory with.
            self._recording = Recorder().record(compute, inputs)
            self.count += 1
        return self._recording.replay(inputs)
