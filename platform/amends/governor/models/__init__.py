"""Models: versions brought in, entered, promoted, asked, handed out, pruned."""
