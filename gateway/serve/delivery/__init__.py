"""Deliveries: the outbox drained, by every way out."""
