"""What runs beside hostile code: the standard library and this folder alone."""
