"""Exponentials -> polynomials in vector IR."""
