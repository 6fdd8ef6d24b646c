"""The one port: connections, HTTP/1.1 and WebSockets, down to the bytes."""
