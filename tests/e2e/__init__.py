"""A cluster made, broken in each way, mended, taken down; the order is the files' names'."""
