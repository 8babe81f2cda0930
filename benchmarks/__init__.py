"""Programs that measure the application beside its peers; see README.md here."""
