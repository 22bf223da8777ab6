"""Which requests come, and when. The only package that draws random numbers."""
