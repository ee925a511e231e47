"""Points in several views: peaks, triangulation, consensus."""
