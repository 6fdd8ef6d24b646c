"""What a command's exit code says, the same for every command."""

DONE = 0
CHECK_FAILED = 1  # it ran, and the answer is no: refused, not proven, damaged, different
USAGE = 2  # a wrong argument or configuration
UNAVAILABLE = 3  # the service or the data cannot be had now
