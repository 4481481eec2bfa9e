"""Cases: what people do to one: request, plan, decide, read."""
