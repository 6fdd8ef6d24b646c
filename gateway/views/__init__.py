"""Materialised views: what the facts in the log add up to. Only the fold ever writes them."""
