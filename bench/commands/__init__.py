"""What each command of `bench` does, beside parsing words: cli.py is thin."""
