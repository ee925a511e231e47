"""Report of a run's 3D results: page, figures, comparison with the paper."""
