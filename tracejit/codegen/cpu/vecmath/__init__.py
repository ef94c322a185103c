"""Elementary functions -> polynomials in vector IR, written against the Builder: they inline and fuse."""
