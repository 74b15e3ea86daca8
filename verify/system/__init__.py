"""The process and its surroundings: signals, standard error, files that a user names, optional packages, threads."""
