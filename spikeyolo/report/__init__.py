"""What a person looks at: the console, pictures, MLflow."""
