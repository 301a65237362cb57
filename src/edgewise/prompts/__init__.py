"""Prompts: the tokens that a text becomes, and the chat template around it."""
