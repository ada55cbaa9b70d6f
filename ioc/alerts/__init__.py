"""Alerts remember who knows. `states` is the table, `lifecycle` one step, `book` every open alarm."""
