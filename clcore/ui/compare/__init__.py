"""The Compare page: settings side by side, seed by seed, with what keeps them from being compared."""
