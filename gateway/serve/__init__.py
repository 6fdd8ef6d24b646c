"""The shell: the only room with trio, sockets, the clock and dice. It carries out what the pure rooms decide."""
