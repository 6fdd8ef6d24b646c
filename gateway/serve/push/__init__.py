"""The push services: what instances and homeservers ask, judged, recorded and answered."""
