"""One file, one case: ``compare(data_dir, progress) -> Report``."""
