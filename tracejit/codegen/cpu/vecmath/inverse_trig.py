"""Inverse trigonometric functions -> polynomials in vector IR."""
