"""Packs that ship with the product: one folder of YAML a province or replay; there is no code here."""
