"""Keys, pseudonyms, disclosures, signatures and trees of hashes: everything that must stay secret or provable."""
