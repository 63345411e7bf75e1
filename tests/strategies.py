"""Text for property tests. `st.text()` would spend seconds on working out what UTF-8 can encode."""

from hypothesis import strategies as st

unicode_text = st.characters(exclude_categories=["Cs"])
"""Every character that has an encoding."""

anything = st.characters(exclude_categories=[])
"""Every code point, lone surrogates included, which no encoding has but JSON does."""
