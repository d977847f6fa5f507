"""Where examples come from, and how they reach the network batch by batch."""
