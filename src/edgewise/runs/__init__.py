"""Runs: from a recipe to a result, and to the folder it leaves."""
