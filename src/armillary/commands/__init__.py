"""What the Invoke tasks do: one file a command, so that tasks.py only parses, calls and prints."""
