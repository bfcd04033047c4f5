"""`peft-study sync`: send what W&B does not have yet, from the cells' folders."""
