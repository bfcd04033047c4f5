"""Tables as data, and the formats they are written in."""
