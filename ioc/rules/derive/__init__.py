"""Derived series: windows, rates, indices and expressions, computed from series at each of their samples."""
