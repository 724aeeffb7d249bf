"""Triton device code of the GEMM families. Importing a kernel module imports triton; this package alone does not."""
