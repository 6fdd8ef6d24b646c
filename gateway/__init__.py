"""The gateway: push for takos instances, and a nostr relay with a replication socket, over one event log."""
