"""The paper's claims held against rows, and studies held against each other."""
