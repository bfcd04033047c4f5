"""What a GPU does with the study's models: peak memory, step time, generation time, and the tests that need a card."""
