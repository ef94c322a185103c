"""Error functions -> polynomials in vector IR."""
