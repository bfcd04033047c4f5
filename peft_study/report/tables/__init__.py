"""Tables as data, and the forms they are written in."""
