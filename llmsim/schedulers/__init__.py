"""One file, one policy; the file's name is the policy's name."""
