"""The toy experiment of Béthune & Serrurier (2022), with other detectors beside LipOCC."""
