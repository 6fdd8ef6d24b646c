"""What earlier releases wrote, kept for ever."""
