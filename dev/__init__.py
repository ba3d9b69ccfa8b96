"""Tools for development, the demo and the tests; never deployed."""
