"""The building blocks of networks, one idea a file; shapes are in the margins."""
