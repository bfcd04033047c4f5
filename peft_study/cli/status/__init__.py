"""`peft-study status`: how far the cells under a folder are."""
