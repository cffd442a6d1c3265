"""What of Azure Machine Learning the emulator leaves out on purpose."""
