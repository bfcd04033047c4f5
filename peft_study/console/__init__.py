"""What is printed: messages, progress, number formats, exit codes."""
