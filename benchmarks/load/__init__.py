"""The load generator of the benchmarks: `loadgen.c`, or where there is no compiler `fallback.py`, which is slower."""
