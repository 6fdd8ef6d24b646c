"""Relays, tokens and the replication socket as plain values and functions. No I/O, no clock."""
