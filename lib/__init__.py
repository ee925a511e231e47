"""Cross-view fusion and recursive pictorial structures for multi-view 3D human pose."""
