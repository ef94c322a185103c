"""Small libraries of optimisers and layers, as examples of how to write larger ones."""
