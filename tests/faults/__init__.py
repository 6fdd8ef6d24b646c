"""Real faults under the real server: limits on file sizes, and system calls that strace makes fail."""
