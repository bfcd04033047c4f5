"""Base models: their families, weights, tokenizers and quantisation."""

import logging

# bitsandbytes 0.50 logs at every product of an 8-bit layer that it casts the inputs: 350 lines a step of a tiny model.
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
