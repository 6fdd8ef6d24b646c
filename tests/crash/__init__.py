"""kill -9 over the real server under load: what was acknowledged is there, whatever the moment of death."""
