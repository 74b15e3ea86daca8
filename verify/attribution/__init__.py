"""What causes what: which operation made a logit wrong, and what the storage of each tensor costs."""
