"""Our claims of speed and memory, each measured beside a named peer: `make bench`, and README.md in this folder."""
