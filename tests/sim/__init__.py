"""A whole log in one thread, on a disk that loses what was never synced, under a seeded scheduler."""
