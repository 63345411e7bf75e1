"""Text strategies for property tests. `st.text()` would take seconds to compute what UTF-8 can encode."""

from hypothesis import strategies as st

unicode_text = st.characters(exclude_categories=["Cs"])
"""Every character that UTF-8 can encode."""

anything = st.characters(exclude_categories=[])
"""Every code point, including lone surrogates, which only JSON escapes can express."""
