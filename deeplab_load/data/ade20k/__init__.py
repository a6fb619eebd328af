"""ADE20K, scene parsing."""
