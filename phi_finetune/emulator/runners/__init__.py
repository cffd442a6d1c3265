"""What running a job, and answering with the model that it made, mean."""
