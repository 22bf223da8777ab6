"""One module for each format of result files; each holds one `Format`, and is found by its place here."""
