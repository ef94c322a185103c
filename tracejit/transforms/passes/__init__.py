"""Graph -> Graph passes that keep what a program means."""
