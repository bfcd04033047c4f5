"""Measure the study's models on a GPU: peak memory, step time, generation time, and the tests that need a GPU."""
