"""Drawing: figures, charts, animations."""
