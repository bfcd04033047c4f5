"""Base models: their families, weights, tokenizers and quantisation."""
