"""The result folder: its schema, its files, where a result comes from. No torch here."""
