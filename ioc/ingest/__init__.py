"""Ingest decodes. Shells bring bytes; `decoder` and `codecs` read them; `order` says what becomes of a sample."""
