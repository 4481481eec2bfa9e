"""Proof: what is shown and verified afterwards, such as certificates, receipts and the log."""
