"""What a program is: types, graphs, tracing, text form, verification, loop nests. Knows no particular op."""
