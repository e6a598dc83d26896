"""Device, memory, random streams, clocks and signals of this process."""
