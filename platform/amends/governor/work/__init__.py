"""Work: the steps from an approved plan to a certificate, durable across crashes."""
