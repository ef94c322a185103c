"""Compiled code at work: arrays, buffers, threads, the object cache, and the call from Python into native code."""
