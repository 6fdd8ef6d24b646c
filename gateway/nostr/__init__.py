"""The nostr protocol as plain values and functions: events, filters, messages, sessions. No I/O, no clock."""
