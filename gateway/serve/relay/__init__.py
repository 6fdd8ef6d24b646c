"""The normal socket: sessions carried out, events taken in, live rows sent."""
