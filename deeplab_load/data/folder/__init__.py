"""A folder of a user's own images and masks."""
