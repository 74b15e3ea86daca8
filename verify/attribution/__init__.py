"""Attribute errors and costs: which operation caused how much of a logit's error, and what the storage of each tensor
costs."""
