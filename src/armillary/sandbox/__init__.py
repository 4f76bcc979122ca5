"""A disposable all-in-one OpenStack on this machine (docs/decisions/0010-sandbox.md)."""
