"""Experiments: recipes (recipe.py), their training and measuring (runner.py), their results (results.py)."""
