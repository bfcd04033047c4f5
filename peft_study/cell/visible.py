"""The GPUs that a process may use. No torch is imported, because the process of a sweep asks too."""

import os
import subprocess

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """Return the GPUs that a process started now would see, by index or UUID."""
    # A scheduler such as Slurm sets it to what the job may use; -1 and nothing hide all GPUs.
    if VISIBLE in os.environ:
        return [gpu.strip() for gpu in os.environ[VISIBLE].split(",") if gpu.strip() not in {"", "-1"}]
    # torch takes seconds to import, and its question to CUDA would initialize CUDA in the process of the sweep.
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listing = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listing.stdout.split() if listing.returncode == 0 else []
