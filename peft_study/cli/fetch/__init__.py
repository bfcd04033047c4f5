"""Downloads what a sweep needs ahead of it."""
