"""Alerts for tests, trials and benchmarks: simulated from a seed, or real ones from files."""
