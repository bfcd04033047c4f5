"""Attaching a method to a base model."""
