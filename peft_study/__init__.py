"""A Hydra-driven sweep framework for the study of arXiv 2308.10462: which way of adapting a code LLM is worth it."""

__version__ = "0.1.0"
