"""The sweeper and the local launcher. Hydra discovers plugins in the namespace package `hydra_plugins`."""
