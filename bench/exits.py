"""Exit codes of the command `bench`."""

OK = 0
WORSE = 1  # a score regressed, or a record was not confirmed
BAD_INPUT = 2
INCOMPLETE = 3  # a trial or a check failed, or a row is void
INTERRUPTED = 130
