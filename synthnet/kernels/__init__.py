"""Speed on arrays: compiled functions, each with a slow twin in the tests."""
