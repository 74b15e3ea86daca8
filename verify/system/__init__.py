"""The process and its environment: signals, standard error, files that a user names, optional packages, threads."""
