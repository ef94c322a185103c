"""Trigonometric functions -> polynomials in vector IR."""
