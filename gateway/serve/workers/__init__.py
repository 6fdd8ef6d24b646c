"""What workers ask: relays, tokens, and the handshakes that tokens open."""
