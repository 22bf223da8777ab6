"""One file per section of a score; a new file here is measured, shown and compared without another edit."""
