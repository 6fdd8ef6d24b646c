"""The replication socket: rows taken in, rows behind cursors, reads asked of peers."""
