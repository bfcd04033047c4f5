"""Many cells with one command: blocks become cells, and each cell runs in a separate process."""
