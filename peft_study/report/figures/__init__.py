"""The figures: what they show (`drawing.py`), how they are made of rows, and how they are drawn for print."""
