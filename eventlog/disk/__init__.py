"""The only part of the log that touches files, threads and trio."""
