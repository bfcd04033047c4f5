"""Programs that try to get out of the sandbox, to starve it or to forge a pass, and what has to become of each."""
