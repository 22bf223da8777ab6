"""Who asks for what, and when. The only package that draws random numbers."""
