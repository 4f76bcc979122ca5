"""The steps of `up`, one file each, all of one contract (`contract.py`)."""
