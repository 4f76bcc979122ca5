"""Packets of surveys: how each names things, and how they become rows of the alert table."""
