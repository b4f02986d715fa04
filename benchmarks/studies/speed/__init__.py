"""What fitting and scoring cost, beside other libraries and detectors."""
