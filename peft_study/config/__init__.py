"""What a cell is made of: typed groups, the rules across them, and its identity. No torch here."""
