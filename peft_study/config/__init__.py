"""The settings of a cell: typed groups, the rules across them, and the identity. Nothing here imports torch."""
