"""What a worker, and each child of it, gives up: files, users, system calls."""
