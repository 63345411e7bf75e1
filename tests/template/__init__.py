"""Tests of the template, the compute stack, and the pages that describe them."""
