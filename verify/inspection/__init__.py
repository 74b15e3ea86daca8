"""What files hold, without a source and without a verdict."""
