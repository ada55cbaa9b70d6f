"""Rules decide whether. `spec` reads them, `table` aligns them, `engine` judges batches and gives changes."""
