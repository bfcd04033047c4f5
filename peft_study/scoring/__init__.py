"""From candidates to a cell's scores: exact match, CodeBLEU, tests."""
