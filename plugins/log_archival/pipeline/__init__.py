"""One run, in the order of its tasks: collect, compress, upload, verify."""
