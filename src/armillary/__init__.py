"""Armillary: a science platform for astronomers, built by one command."""
