"""Hyperbolic functions -> polynomials in vector IR."""
