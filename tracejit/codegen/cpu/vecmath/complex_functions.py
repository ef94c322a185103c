"""Complex functions -> polynomials in vector IR."""
