"""Downloads what a sweep needs, before it starts."""
