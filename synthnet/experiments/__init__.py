"""Recipes: experiments as folders (recipe.py), run (runner.py) and told (results.py)."""
