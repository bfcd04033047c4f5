"""Code that runs in the same process as hostile code. It imports only the standard library and this package."""
