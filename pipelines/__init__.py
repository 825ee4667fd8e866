"""From file to file: the command line and what it is made of."""
