"""Graph -> Graph: what changes the meaning of a program (ad, vmap) and the public functions that ask for it."""
