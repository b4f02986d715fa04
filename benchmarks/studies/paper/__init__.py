"""The paper's experiment on MNIST: ``make paper``."""
