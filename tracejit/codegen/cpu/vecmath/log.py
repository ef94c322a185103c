"""Logarithms -> polynomials in vector IR."""
