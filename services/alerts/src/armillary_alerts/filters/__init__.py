"""Users' filters: what one is, and the engine that evaluates those in SQL."""
