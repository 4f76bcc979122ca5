"""Users' filters in Python: the jail they run in, and what runs them there."""
