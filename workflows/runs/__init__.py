"""What any run is, whatever its road."""
