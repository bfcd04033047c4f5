"""What a worker has to know of the packages that its programs may import."""

FOLDER = "/packages"
"""Where level A shows them."""
SINGLE_THREADED = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Threads of BLAS would count as processes of the test, and as memory."""
