"""Push services to try the gateway against: each speaks its protocol, fails on demand, and keeps what came."""
