"""Texts that a language model writes from numbered passages. It must cite them, and citations are checked."""
