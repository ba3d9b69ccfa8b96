"""The archive account: the connection to it, its errors, and the writer of its bucket."""
