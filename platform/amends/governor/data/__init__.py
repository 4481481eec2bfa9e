"""Data: records that know whose they are, registered and written again."""
