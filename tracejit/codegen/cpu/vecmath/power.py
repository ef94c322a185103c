"""Powers -> polynomials in vector IR."""
