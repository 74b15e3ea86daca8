"""Files and directories that appear under their name complete or not at all, even where the process is killed."""
