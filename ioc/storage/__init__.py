"""PostgreSQL: a projection of the log, and the history that screens ask of it. Never in the way of an alarm."""
