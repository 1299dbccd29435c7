"""Exit codes of the command `bench`."""

OK = 0
WORSE = 1  # a score or a record does not hold
BAD_INPUT = 2
INCOMPLETE = 3  # some trials failed, or a check did
INTERRUPTED = 130
