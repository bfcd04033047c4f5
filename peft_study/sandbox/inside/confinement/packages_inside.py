"""Settings for packages that programs may import."""

FOLDER = "/packages"
"""The folder of packages at level A."""
SINGLE_THREADED = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""BLAS threads would count as processes and memory of a test."""
