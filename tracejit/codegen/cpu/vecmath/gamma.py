"""Gamma functions -> polynomials in vector IR."""
