"""The recursive pictorial structure model (RPSM)."""
